/** A folder of backups on a file system. */
import {
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorMessage, isDiskFull, UserError } from "../../../base/errors.ts";
import { removeDatabase, syncFile, syncFolder } from "../../../replica/copies/database-files.ts";
import { sqliteCode } from "../../startup/file-access.ts";
import type { BackupFolder } from "./backup-folder.ts";

/** A file that a killed process left under a temporary name is removed after this time. */
const ABANDONED_MS = 24 * 3_600_000;
const PARTIAL = ".partial";

export class LocalFolder implements BackupFolder {
  readonly shown: string;
  /** Two commands that write the same backup must not meet in one file. */
  readonly #suffix = `.${crypto.randomUUID().slice(0, 8)}${PARTIAL}`;

  constructor(path: string) {
    this.shown = path;
  }

  #path(name: string): string {
    return join(this.shown, name);
  }

  names(): Promise<readonly string[]> {
    return this.#tried(() => (existsSync(this.shown) ? readdirSync(this.shown) : []));
  }

  has(name: string): Promise<boolean> {
    return this.#tried(() => existsSync(this.#path(name)));
  }

  text(name: string): Promise<string | null> {
    const path = this.#path(name);
    return this.#tried(() => (existsSync(path) ? readFileSync(path, "utf8") : null));
  }

  putText(name: string, text: string): Promise<void> {
    return this.#tried(() => {
      const fresh = this.#path(name + this.#suffix);
      try {
        writeFileSync(fresh, text, { flag: "wx" });
        syncFile(fresh);
        renameSync(fresh, this.#path(name));
        syncFolder(this.shown);
      } finally {
        rmSync(fresh, { force: true });
      }
    });
  }

  buildAt(name: string): Promise<string> {
    return this.#tried(() => {
      mkdirSync(this.shown, { recursive: true });
      removeAbandoned(this.shown);
      return this.#path(name + this.#suffix);
    });
  }

  put(name: string): Promise<void> {
    const [from, to] = [this.#path(name + this.#suffix), this.#path(name)];
    return this.#tried(() => publishNew(from, to));
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return createReadStream(this.#path(name), { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>;
  }

  remove(name: string): Promise<void> {
    return this.#tried(() => rmSync(this.#path(name), { force: true }));
  }

  async #tried<T>(work: () => T): Promise<T> {
    try {
      return await Promise.resolve().then(work);
    } catch (error) {
      throw folderError(error, this.shown);
    }
  }
}

/** Gives a finished file its name, durably. Throws if there is one of this name by now. */
export function publishNew(from: string, to: string): void {
  syncFile(from);
  nameNew(from, to);
  syncFolder(dirname(resolve(to)));
}

function nameNew(from: string, to: string): void {
  try {
    linkSync(from, to);
    rmSync(from);
  } catch (error) {
    // A file system without hard links.
    if ((error as { code?: string }).code === "EEXIST" || existsSync(to)) throw error;
    renameSync(from, to);
  }
}

function removeAbandoned(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(PARTIAL)) continue;
    const path = join(folder, name);
    const { mtimeMs = Number.POSITIVE_INFINITY } = statSync(path, { throwIfNoEntry: false }) ?? {};
    if (mtimeMs < Date.now() - ABANDONED_MS) removeDatabase(path);
  }
}

const CANNOT_OPEN = 14;
const READ_ONLY = 8;

/** An error of the file system or of SQLite as a user can act on it. */
export function folderError(error: unknown, folder: string): unknown {
  if (error instanceof UserError || !(error instanceof Error)) return error;
  const { code = "" } = error as { code?: string };
  const of = (message: string, hint: string): UserError => new UserError(message, hint, { cause: error });
  if (isDiskFull(error))
    return of(`${folder} has no room for the file`, "free space there, or name another folder or disk");
  if (code === "EEXIST" && (error as { syscall?: string }).syscall === "mkdir")
    return of(`${folder} is no folder`, "name a folder, or a file in an existing or new folder");
  if (code === "EEXIST")
    return of(`a file of this name exists in ${folder} by now`, "give another name, and the command again");
  if (code === "ENOTDIR")
    return of(`${folder} is no folder`, "name a folder, or a file in an existing or new folder");
  if (
    ["EACCES", "EPERM", "EROFS"].includes(code) ||
    [CANNOT_OPEN, READ_ONLY].includes(sqliteCode(error) ?? -1)
  )
    return of(
      `${folder} cannot be written: ${errorMessage(error)}`,
      `give this user write permission for ${folder}, or name another folder`,
    );
  if (code.startsWith("E") && !code.startsWith("ERR_"))
    return of(`${folder} cannot be used: ${errorMessage(error)}`, "name another folder");
  return error;
}
