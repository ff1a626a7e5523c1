/** An archive in S3 or a store that is compatible with it. Endpoint and credentials are in the environment. */
import { UserError } from "../../base/errors.ts";
import { s3Client } from "../../base/s3/s3-client.ts";
import { S3Requests } from "../../base/s3/s3-requests.ts";
import type { ArchiveStore } from "./store.ts";

/** Shipping tries again by itself, and is to say soon that the store does not answer. */
const ATTEMPTS = 3;

/** Throws `UserError` unless it is `s3://BUCKET/PREFIX`. */
export function openS3(given: string): S3Store {
  const match = /^s3:\/\/([^/]+)\/(.+?)\/*$/.exec(given);
  if (match === null)
    throw new UserError(`${given} should be s3://BUCKET/PREFIX`, "for example s3://backups/app");
  return new S3Store(match[1]!, `${match[2]!}/`);
}

export class S3Store implements ArchiveStore {
  readonly shown: string;
  readonly #requests: S3Requests;
  readonly #prefix: string;

  constructor(bucket: string, prefix: string) {
    this.shown = `s3://${bucket}/${prefix.replace(/\/$/, "")}`;
    this.#requests = new S3Requests(s3Client(bucket), this.shown, ATTEMPTS);
    this.#prefix = prefix;
  }

  async list(folder: string, after = ""): Promise<string[]> {
    const pages = await this.#requests.list(this.#prefix + folder, after === "" ? "" : this.#prefix + after);
    const keys = pages.flatMap(({ contents = [] }) => contents.map(({ key }) => this.#nameOf(key)));
    return keys.filter((name) => name > after).sort();
  }

  async folders(folder: string): Promise<string[]> {
    const pages = await this.#requests.list(this.#prefix + folder);
    return pages
      .flatMap(({ commonPrefixes = [] }) => commonPrefixes.map(({ prefix }) => this.#nameOf(prefix)))
      .sort();
  }

  #nameOf(key: string): string {
    return key.slice(this.#prefix.length);
  }

  get(name: string): Promise<Uint8Array | null> {
    return this.#requests.get(this.#prefix + name);
  }

  create(name: string, bytes: Uint8Array): Promise<boolean> {
    return this.#requests.create(this.#prefix + name, bytes);
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.#requests.put(this.#prefix + name, bytes);
  }

  upload(name: string, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    return this.#requests.upload(this.#prefix + name, open);
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return this.#requests.stream(this.#prefix + name);
  }

  remove(name: string): Promise<void> {
    return this.#requests.remove(this.#prefix + name);
  }

  /** Parts of an upload that was given up have no name; a rule of the bucket removes them. */
  sweep(): Promise<void> {
    return Promise.resolve();
  }
}
