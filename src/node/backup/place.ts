/** Where a backup is or goes: a file, a folder, an object in S3, or a prefix there. */
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { errorMessage, UserError } from "../../base/errors.ts";
import { publish } from "../../replica/copies/database-files.ts";

/** A folder, or a prefix of keys. Names have no slash. */
export interface BackupFolder {
  /** For messages. */
  readonly shown: string;
  names(): Promise<readonly string[]>;
  has(name: string): Promise<boolean>;
  /** null: there is none. */
  text(name: string): Promise<string | null>;
  putText(name: string, text: string): Promise<void>;
  /** The path at which a database is built that `put` takes. */
  buildAt(name: string): string;
  /** Takes the finished file from `buildAt(name)`. */
  put(name: string): Promise<void>;
  stream(name: string): AsyncIterable<Uint8Array>;
  remove(name: string): Promise<void>;
}

export interface BackupPlace {
  readonly folder: BackupFolder;
  /** null: the place is a folder, and the name is to be chosen. */
  readonly name: string | null;
}

/** `scratch`: a folder for files on their way to S3. */
export function backupPlace(given: string, scratch: string): BackupPlace {
  if (given.startsWith("s3://")) return s3Place(given, scratch);
  if (given.endsWith("/") || statSync(given, { throwIfNoEntry: false })?.isDirectory() === true)
    return { folder: new LocalFolder(given.replace(/(?<=.)\/+$/, "")), name: null };
  const at = given.lastIndexOf("/");
  return {
    folder: new LocalFolder(at === -1 ? "." : given.slice(0, at) || "/"),
    name: basename(given),
  };
}

class LocalFolder implements BackupFolder {
  readonly shown: string;

  constructor(path: string) {
    this.shown = path;
  }

  #path(name: string): string {
    return join(this.shown, name);
  }

  names(): Promise<readonly string[]> {
    return Promise.resolve(existsSync(this.shown) ? readdirSync(this.shown) : []);
  }

  has(name: string): Promise<boolean> {
    return Promise.resolve(existsSync(this.#path(name)));
  }

  text(name: string): Promise<string | null> {
    const path = this.#path(name);
    return Promise.resolve(existsSync(path) ? readFileSync(path, "utf8") : null);
  }

  putText(name: string, text: string): Promise<void> {
    const fresh = this.#path(`${name}.partial`);
    writeFileSync(fresh, text);
    renameSync(fresh, this.#path(name));
    return Promise.resolve();
  }

  buildAt(name: string): string {
    mkdirSync(this.shown, { recursive: true });
    return this.#path(`${name}.partial`);
  }

  put(name: string): Promise<void> {
    publish(this.buildAt(name), this.#path(name));
    return Promise.resolve();
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return createReadStream(this.#path(name), { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>;
  }

  remove(name: string): Promise<void> {
    rmSync(this.#path(name), { force: true });
    return Promise.resolve();
  }
}

/** Credentials and endpoint are in the environment: S3_ENDPOINT, S3_ACCESS_KEY_ID and so on, or AWS_ in place of S3_. */
function s3Place(given: string, scratch: string): BackupPlace {
  const match = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(given);
  if (match === null)
    throw new UserError(
      `${given} should be s3://BUCKET/KEY or s3://BUCKET/PREFIX/`,
      "for example s3://backups/app/",
    );
  const [, bucket, path = ""] = match as unknown as [string, string, string?];
  const at = path.lastIndexOf("/");
  const prefix = path.slice(0, at + 1);
  const name = path.slice(at + 1);
  return { folder: new S3Folder(bucket, prefix, scratch), name: name === "" ? null : name };
}

const PART = 8 << 20;

class S3Folder implements BackupFolder {
  readonly shown: string;
  readonly #client: Bun.S3Client;
  readonly #prefix: string;
  readonly #scratch: string;

  constructor(bucket: string, prefix: string, scratch: string) {
    this.shown = `s3://${bucket}/${prefix}`;
    this.#client = new Bun.S3Client({ bucket });
    this.#prefix = prefix;
    this.#scratch = scratch;
  }

  /** Errors of the store, with a hint and without credentials. */
  async #asked<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof UserError) throw error;
      const { code } = error as { code?: string };
      throw new UserError(
        `the store ${this.shown} refuses: ${errorMessage(error)}${code === undefined ? "" : ` (${code})`}`,
        "check bucket, S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in the environment of this command",
        { cause: error },
      );
    }
  }

  names(): Promise<readonly string[]> {
    return this.#asked(async () => {
      const names: string[] = [];
      for (let after: string | undefined; ;) {
        const page = await this.#client.list({
          prefix: this.#prefix,
          delimiter: "/",
          ...(after === undefined ? {} : { continuationToken: after }),
        });
        names.push(...(page.contents ?? []).map(({ key }) => key.slice(this.#prefix.length)));
        after = page.isTruncated === true ? page.nextContinuationToken : undefined;
        if (after === undefined) return names.filter((name) => name !== "");
      }
    });
  }

  has(name: string): Promise<boolean> {
    return this.#asked(() => this.#client.exists(this.#prefix + name));
  }

  text(name: string): Promise<string | null> {
    return this.#asked(async () => {
      if (!(await this.#client.exists(this.#prefix + name))) return null;
      return this.#client.file(this.#prefix + name).text();
    });
  }

  async putText(name: string, text: string): Promise<void> {
    await this.#asked(() => this.#client.write(this.#prefix + name, text, { type: "application/json" }));
  }

  buildAt(name: string): string {
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
    return join(this.#scratch, `${name}.partial`);
  }

  put(name: string): Promise<void> {
    const path = this.buildAt(name);
    return this.#asked(async () => {
      try {
        const writer = this.#client
          .file(this.#prefix + name)
          .writer({ partSize: PART, queueSize: 4, retry: 3 });
        for await (const chunk of createReadStream(path, { highWaterMark: PART })) {
          void writer.write(chunk as Uint8Array<ArrayBuffer>);
          await writer.flush();
        }
        await writer.end();
      } finally {
        rmSync(path, { force: true });
      }
    });
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return this.#client.file(this.#prefix + name).stream() as unknown as AsyncIterable<Uint8Array>;
  }

  async remove(name: string): Promise<void> {
    await this.#asked(() => this.#client.delete(this.#prefix + name));
  }
}
