/**
 * Makes the files of a release in dist/packages, all from one table of targets: archives, Debian packages, a bill of
 * materials, the install script, a Homebrew formula, and their checksums. The same commit gives the same bytes. The
 * binaries of `scripts/build.ts --all` are packed, or with --target the one of that target.
 *
 *   bun scripts/package.ts [--target linux-x64] [--out dist/packages] [--url URL-OF-THE-RELEASE] [--binary FILE]
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { completions } from "../src/cli/completions.ts";
import { VERBS } from "../src/cli/main.ts";
import { manPage } from "../src/cli/man-page.ts";
import { gzip, type PackedFile, tar, zip } from "./lib/packages/archive.ts";
import { bill, licenses } from "./lib/packages/bill.ts";
import { deb } from "./lib/packages/deb.ts";
import { formula } from "./lib/packages/formula.ts";
import { type Target, TARGETS } from "./lib/packages/targets.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  target: { type: "string" },
  out: { type: "string", default: "dist/packages" },
  url: { type: "string" },
  binary: { type: "string" },
});
const ROOT = join(import.meta.dir, "..");
const OUT = resolve(ROOT, values.out);
const read = (path: string): Buffer => readFileSync(join(ROOT, path));
const { version } = JSON.parse(read("package.json").toString()) as { version: string };
const url =
  values.url ??
  `https://github.com/${process.env.GITHUB_REPOSITORY ?? "OWNER/marmot"}/releases/download/v${version}`;

/** Of the commit, so that a later build gives the same bytes. */
function commitTime(): number {
  if (process.env.SOURCE_DATE_EPOCH) return Number(process.env.SOURCE_DATE_EPOCH);
  const git = Bun.spawnSync(["git", "log", "-1", "--format=%ct"], { cwd: ROOT, stderr: "ignore" });
  return git.exitCode === 0 ? Number(git.stdout.toString()) : 0;
}

const time = commitTime();
const manual = Buffer.from(manPage(VERBS, version));
const texts: readonly PackedFile[] = [
  { path: "README.md", bytes: read("README.md") },
  { path: "CHANGELOG.md", bytes: read("CHANGELOG.md") },
  { path: "LICENSE", bytes: read("LICENSE") },
  { path: "LICENSES-OF-PARTS.txt", bytes: Buffer.from(licenses(ROOT)) },
];
const shells = {
  bash: Buffer.from(completions("bash", VERBS)),
  zsh: Buffer.from(completions("zsh", VERBS)),
  fish: Buffer.from(completions("fish", VERBS)),
};
const unit = read("deploy/systemd/marmot@.service");

function archiveFiles(binary: Uint8Array, name: string, executable: string): PackedFile[] {
  const files: readonly PackedFile[] = [
    { path: executable, bytes: binary, mode: 0o755 },
    ...texts,
    { path: "man/marmot.1", bytes: manual },
    { path: "completions/marmot.bash", bytes: shells.bash },
    { path: "completions/_marmot", bytes: shells.zsh },
    { path: "completions/marmot.fish", bytes: shells.fish },
    { path: "systemd/marmot@.service", bytes: unit },
  ];
  return files.map((file) => ({ ...file, path: `${name}/${file.path}` }));
}

const debFiles = (binary: Uint8Array): PackedFile[] => [
  { path: "usr/bin/marmot", bytes: binary, mode: 0o755 },
  { path: "usr/lib/systemd/system/marmot@.service", bytes: unit },
  { path: "usr/share/bash-completion/completions/marmot", bytes: shells.bash },
  { path: "usr/share/doc/marmot/changelog.gz", bytes: gzip(read("CHANGELOG.md")) },
  { path: "usr/share/doc/marmot/copyright", bytes: Buffer.from(licenses(ROOT)) },
  { path: "usr/share/fish/vendor_completions.d/marmot.fish", bytes: shells.fish },
  { path: "usr/share/man/man1/marmot.1.gz", bytes: gzip(manual) },
  { path: "usr/share/zsh/vendor-completions/_marmot", bytes: shells.zsh },
];

function pack(target: Target): PackedFile[] {
  const binary = values.binary === undefined ? read(target.output) : readFileSync(values.binary);
  const name = `marmot-${version}-${target.name}`;
  const isZip = target.archive === "zip";
  const files = archiveFiles(binary, name, isZip ? "marmot.exe" : "marmot");
  const made = [
    { path: `${name}.${target.archive}`, bytes: isZip ? zip(files, time) : gzip(tar(files, time)) },
  ];
  if (target.deb !== null) {
    const bytes = deb(debFiles(binary), { version, architecture: target.deb, time });
    made.push({ path: `marmot_${version}_${target.deb}.deb`, bytes });
  }
  return made;
}

const targets = TARGETS.filter((t) => values.target === undefined || t.name === values.target);
if (targets.length === 0)
  throw new Error(`--target should be one of ${TARGETS.map((t) => t.name).join(", ")}`);
for (const { output } of targets)
  if (values.binary === undefined && !existsSync(join(ROOT, output)))
    throw new Error(`${output} is missing: bun scripts/build.ts --all`);
mkdirSync(OUT, { recursive: true });
const made: { readonly path: string; readonly hash: string }[] = [];
function write({ path, bytes }: PackedFile): void {
  writeFileSync(join(OUT, path), bytes);
  made.push({ path, hash: createHash("sha256").update(bytes).digest("hex") });
  console.log(`${path}  ${(bytes.length / 1e6).toFixed(1)} MB`);
}
for (const target of targets) for (const file of pack(target)) write(file);
const text = (path: string, content: string): void => write({ path, bytes: Buffer.from(content) });
text(`marmot-${version}.cdx.json`, bill(ROOT, { version, bun: Bun.version, time }));
text("install.sh", read("deploy/install.sh").toString().replace("@URL@", url));
text("marmot.rb", formula({ version, url, hashes: new Map(made.map((m) => [m.path, m.hash])) }));
const sums = made
  .toSorted((a, b) => (a.path < b.path ? -1 : 1))
  .map(({ path, hash }) => `${hash}  ${path}\n`);
writeFileSync(join(OUT, "SHA256SUMS"), sums.join(""));
