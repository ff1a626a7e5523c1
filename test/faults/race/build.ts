/**
 * The application of the race on a given SQLite: its source as a package of the registry ships it, with hooks in the
 * checkpoint, built with the machine's C compiler. Without a compiler or a registry it says why not.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const CACHE = join(import.meta.dir, "../../../.tmp/race");
const APPLICATION = join(import.meta.dir, "application.c");

/** SQLite's version ⇒ the release of better-sqlite3 that ships its source. */
export const PACKAGES: Readonly<Record<string, string>> = {
  "3.40.1": "8.1.0",
  "3.45.1": "9.4.3",
  "3.46.0": "11.1.2",
  "3.50.4": "12.4.1",
  "3.51.2": "12.6.2",
  "3.53.2": "12.10.1",
};

export type Built = { readonly path: string } | { readonly missing: string };

/** The application on that version of SQLite. */
export function buildApplication(version: string): Built {
  if (process.platform === "win32" || Bun.which("cc") === null)
    return { missing: "there is no C compiler here" };
  const digest = new Bun.CryptoHasher("sha256")
    .update(readFileSync(APPLICATION))
    .update(readFileSync(import.meta.path))
    .digest("hex");
  const folder = join(CACHE, version);
  const path = join(folder, `application-${digest.slice(0, 12)}`);
  if (existsSync(path)) return { path };
  mkdirSync(folder, { recursive: true });
  const source = join(folder, "package/deps/sqlite3/sqlite3.c");
  if (!existsSync(source)) {
    const missing = download(version, folder);
    if (missing !== null) return { missing };
  }
  writeFileSync(join(folder, "sqlite3.c"), withHooks(readFileSync(source, "utf8"), version));
  const done = Bun.spawnSync(
    [
      ...[
        "cc",
        "-O1",
        "-w",
        "-DSQLITE_THREADSAFE=0",
        "-DHAVE_USLEEP=1",
        "-DSQLITE_OMIT_LOAD_EXTENSION",
        "-I",
        folder,
      ],
      ...["-o", `${path}.new`, APPLICATION, "-lm"],
    ],
    { stderr: "pipe" },
  );
  if (done.exitCode !== 0)
    throw new Error(`SQLite ${version} cannot be built: ${done.stderr.toString().slice(0, 2000)}`);
  renameSync(`${path}.new`, path);
  return { path };
}

/** Why its source cannot be had; null: it is there. */
function download(version: string, folder: string): string | null {
  if (Bun.which("npm") === null) return "there is no npm here";
  const packed = Bun.spawnSync(["npm", "pack", "--silent", `better-sqlite3@${PACKAGES[version]}`], {
    cwd: folder,
    stderr: "pipe",
    timeout: 120_000,
  });
  const archive = packed.stdout.toString().trim().split("\n").at(-1) ?? "";
  if (packed.exitCode !== 0 || archive === "") return `the registry has no source of SQLite ${version}`;
  const file = "package/deps/sqlite3/sqlite3.c";
  const unpacked = Bun.spawnSync(["tar", "xzf", archive, file], { cwd: folder, stderr: "pipe" });
  return unpacked.exitCode === 0 ? null : `${archive} holds no ${file}`;
}

/** Puts the hooks into the function for checkpoints and into the one that restarts the WAL at a commit. */
export function withHooks(source: string, version: string): string {
  let text = source;
  const put = (within: RegExp, at: RegExp, replacement: string): void => {
    const start = within.exec(text)?.index;
    const found = start === undefined ? null : at.exec(text.slice(start));
    if (start === undefined || found === null)
      throw new Error(`SQLite ${version} has no ${within.source}, ${at.source}`);
    const from = start + found.index;
    text = text.slice(0, from) + found[0].replace(at, replacement) + text.slice(from + found[0].length);
  };
  const checkpoint = /int sqlite3WalCheckpoint\([^;{]*\)\{/;
  put(checkpoint, /rc = walLockExclusive\(pWal, WAL_CKPT_LOCK, 1\);/, "hook_before_lock(); $&");
  put(
    checkpoint,
    /rc = walIndexReadHdr\(pWal, &isChanged\);/,
    "$& if( rc==SQLITE_OK ) hook_after_read(pWal->hdr.mxFrame, walCkptInfo(pWal)->nBackfill, pWal->hdr.aSalt[0], &walIndexHdr(pWal)->aSalt[0]);",
  );
  put(
    /static int walRestartLog\([^;{]*\)\{/,
    /walRestartHdr\(pWal, salt1\);/,
    "$& hook_restarted(pWal->hdr.aSalt[0]);",
  );
  return text;
}
