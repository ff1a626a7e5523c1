/** An archive in a folder. */
import { constants, createReadStream, type Dirent } from "node:fs";
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ArchiveStore } from "./store.ts";

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? "";
/** A large file is synced so often, so that the last sync is short. */
const SYNC_BYTES = 64 << 20;
/** Ending of a file that is not complete. */
const PARTIAL = ".partial";

export class DirStore implements ArchiveStore {
  readonly shown: string;

  constructor(folder: string) {
    this.shown = folder;
  }

  async list(folder: string, after = ""): Promise<string[]> {
    const entries = await this.#entries(folder);
    return entries
      .filter((e) => e.isFile() && !e.name.startsWith("."))
      .map((e) => `${folder}${e.name}`)
      .filter((name) => name > after)
      .sort();
  }

  async folders(folder: string): Promise<string[]> {
    const entries = await this.#entries(folder);
    return entries.flatMap((e) => (e.isDirectory() ? [`${folder}${e.name}/`] : [])).sort();
  }

  async #entries(folder: string): Promise<Dirent[]> {
    return (await unlessMissing(readdir(join(this.shown, folder), { withFileTypes: true }))) ?? [];
  }

  get(name: string): Promise<Uint8Array | null> {
    return unlessMissing(readFile(join(this.shown, name)));
  }

  async create(name: string, bytes: Uint8Array): Promise<boolean> {
    const path = join(this.shown, name);
    const fresh = await this.#write(path, one(bytes));
    try {
      await linkOrCopy(fresh, path);
    } catch (error) {
      if (codeOf(error) === "EEXIST") return false;
      throw error;
    } finally {
      await rm(fresh, { force: true });
    }
    await syncFolder(dirname(path));
    return true;
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.upload(name, () => one(bytes));
  }

  async upload(name: string, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    const path = join(this.shown, name);
    const fresh = await this.#write(path, open());
    try {
      await rename(fresh, path);
    } catch (error) {
      await rm(fresh, { force: true });
      throw error;
    }
    await syncFolder(dirname(path));
  }

  /** Returns the path of a synced file beside the named one. */
  async #write(path: string, chunks: AsyncIterable<Uint8Array>): Promise<string> {
    // Nodes on several machines can write into one folder.
    const fresh = join(dirname(path), `.${crypto.randomUUID().slice(0, 13)}${PARTIAL}`);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(fresh, "wx", 0o600);
    try {
      let unsynced = 0;
      for await (const chunk of chunks) {
        await file.writeFile(chunk);
        unsynced += chunk.length;
        if (unsynced < SYNC_BYTES) continue;
        await file.datasync();
        unsynced = 0;
      }
      await file.sync();
    } catch (error) {
      await rm(fresh, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    return fresh;
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return createReadStream(join(this.shown, name), { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>;
  }

  remove(name: string): Promise<void> {
    return rm(join(this.shown, name), { force: true });
  }

  async sweep(before: number): Promise<void> {
    for (const name of await readdir(this.shown, { recursive: true })) {
      if (!name.endsWith(PARTIAL)) continue;
      const path = join(this.shown, name);
      const found = await unlessMissing(stat(path));
      if (found !== null && found.mtimeMs < before) await rm(path, { force: true });
    }
  }
}

/** null: there is no such file or folder. */
async function unlessMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
}

async function* one(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield await Promise.resolve(bytes);
}

/** Fails if there is a file: with a hard link, or where the file system has none with a copy. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(codeOf(error))) throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const file = await open(folder, "r");
  try {
    await file.sync();
  } catch {
    // Some file systems cannot sync a folder.
  } finally {
    await file.close();
  }
}
