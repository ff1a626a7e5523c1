/** A prefix of keys in a bucket of S3, or of a store that is compatible with it. */
import { createReadStream, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../../base/errors.ts";
import { s3Client } from "../../../base/s3/s3-client.ts";
import { S3Requests } from "../../../base/s3/s3-requests.ts";
import type { BackupFolder } from "./backup-folder.ts";

/** Larger files are sent in parts. */
const WHOLE = 16 << 20;
const PART = 8 << 20;

export class S3Folder implements BackupFolder {
  readonly shown: string;
  readonly #requests: S3Requests;
  readonly #prefix: string;
  readonly #scratch: string;
  readonly #suffix = `.${crypto.randomUUID().slice(0, 8)}.partial`;

  constructor(bucket: string, prefix: string, scratch: string) {
    this.shown = `s3://${bucket}/${prefix}`;
    this.#requests = new S3Requests(s3Client(bucket), this.shown);
    this.#prefix = prefix;
    this.#scratch = scratch;
  }

  async names(): Promise<readonly string[]> {
    const pages = await this.#requests.list(this.#prefix);
    const keys = pages.flatMap(({ contents = [] }) => contents.map(({ key }) => key));
    return keys.map((key) => key.slice(this.#prefix.length)).filter((name) => name !== "");
  }

  async has(name: string): Promise<boolean> {
    return (await this.#requests.sizeOf(this.#prefix + name)) !== null;
  }

  async text(name: string): Promise<string | null> {
    const bytes = await this.#requests.get(this.#prefix + name);
    return bytes === null ? null : new TextDecoder().decode(bytes);
  }

  async putText(name: string, text: string): Promise<void> {
    await this.#requests.put(this.#prefix + name, new TextEncoder().encode(text), "application/json");
  }

  buildAt(name: string): Promise<string> {
    mkdirSync(this.#scratch, { recursive: true, mode: 0o700 });
    return Promise.resolve(join(this.#scratch, name + this.#suffix));
  }

  async put(name: string): Promise<void> {
    const path = join(this.#scratch, name + this.#suffix);
    const key = this.#prefix + name;
    try {
      if (await this.has(name))
        throw new UserError(`${this.shown}${name} exists by now`, "give another name, and the command again");
      await this.#upload(key, path);
      const [sent, stored] = [statSync(path).size, await this.#requests.sizeOf(key)];
      if (stored === sent) return;
      throw new UserError(
        `the store ${this.shown} has ${stored ?? "no"} bytes of ${name}, but ${sent} were sent`,
        "give the command again; a store that loses bytes is not to be trusted",
      );
    } finally {
      rmSync(path, { force: true });
    }
  }

  async #upload(key: string, path: string): Promise<void> {
    const { size } = statSync(path);
    if (size <= WHOLE)
      return this.#requests.put(key, await Bun.file(path).bytes(), "application/vnd.sqlite3");
    await this.#requests.upload(
      key,
      () => createReadStream(path, { highWaterMark: PART }) as AsyncIterable<Uint8Array>,
      size,
    );
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return this.#requests.stream(this.#prefix + name);
  }

  async remove(name: string): Promise<void> {
    await this.#requests.remove(this.#prefix + name);
  }
}
