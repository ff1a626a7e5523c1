/** Binaries of other releases: the previous one, from the history of the repository, and a later one that raises a format. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const CACHE = join(ROOT, "node_modules/.cache/releases");
const BUN = process.execPath;

export const PREVIOUS = JSON.parse(readFileSync(join(ROOT, "previous-release.json"), "utf8")) as {
  readonly version: string;
  readonly commit: string;
};

function run(command: readonly string[], cwd: string): void {
  const done = Bun.spawnSync([...command], { cwd, stdout: "ignore", stderr: "pipe", stdin: "ignore" });
  if (done.exitCode !== 0) throw new Error(`${command.join(" ")}: ${done.stderr.toString().slice(-2000)}`);
}

/** False: a shallow clone, or no repository. */
export const hasPrevious = (): boolean =>
  Bun.spawnSync(["git", "cat-file", "-e", `${PREVIOUS.commit}^{commit}`], { cwd: ROOT, stderr: "ignore" })
    .exitCode === 0;

/** Makes a folder with `prepare`, once: a run that is cut leaves nothing that a later one would take. */
function once(name: string, prepare: (folder: string) => void): string {
  const folder = join(CACHE, name);
  const binary = join(folder, "dist/marmot");
  if (existsSync(binary)) return binary;
  const draft = `${folder}.${process.pid}`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  prepare(draft);
  run([BUN, "scripts/build.ts"], draft);
  rmSync(folder, { recursive: true, force: true });
  renameSync(draft, folder);
  return binary;
}

/** The binary of the previous release, with the packages of its own lock. */
export const previousRelease = (): string =>
  once(PREVIOUS.commit, (folder) => {
    const archive = join(folder, "source.tar");
    run(["git", "archive", "--output", archive, PREVIOUS.commit], ROOT);
    run(["tar", "-xf", archive, "-C", folder], ROOT);
    run([BUN, "install", "--frozen-lockfile", "--ignore-scripts"], folder);
  });

/** Text of the source, and the text that takes its place. */
type Patch = readonly [file: string, text: string, instead: string];

/** A build of this source with changes: as a later release would be. */
export function laterRelease(patches: readonly Patch[]): string {
  const folder = join(CACHE, "later");
  rmSync(folder, { recursive: true, force: true });
  return once("later", (draft) => {
    for (const part of ["src", "scripts", "assets", "package.json", "tsconfig.json"])
      cpSync(join(ROOT, part), join(draft, part), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(draft, "node_modules"));
    for (const [file, text, instead] of patches) {
      const path = join(draft, file);
      const source = readFileSync(path, "utf8");
      if (source.split(text).length !== 2) throw new Error(`${file} should have this once: ${text}`);
      writeFileSync(
        path,
        source.replace(text, () => instead),
      );
    }
  });
}
