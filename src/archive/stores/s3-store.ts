/** An archive in S3 or a store that is compatible with it. Endpoint and credentials are in the environment. */
import { errorMessage, UserError } from "../../base/errors.ts";
import { codeIn, within } from "../../base/s3/s3-answers.ts";
import { s3Client } from "../../base/s3/s3-client.ts";
import type { ArchiveStore } from "./store.ts";

/** One small request. */
const ANSWER_MS = 30_000;
const PART = 8 << 20;
/** A list, or a part of a large object. */
const PART_MS = 120_000;
const SIGNED_SECONDS = 60;

/** Throws `UserError` unless it is `s3://BUCKET/PREFIX`. */
export function openS3(given: string): S3Store {
  const match = /^s3:\/\/([^/]+)\/(.+?)\/*$/.exec(given);
  if (match === null)
    throw new UserError(`${given} should be s3://BUCKET/PREFIX`, "for example s3://backups/app");
  return new S3Store(match[1]!, `${match[2]!}/`);
}

export class S3Store implements ArchiveStore {
  readonly shown: string;
  readonly #client: Bun.S3Client;
  readonly #prefix: string;

  constructor(bucket: string, prefix: string) {
    this.shown = `s3://${bucket}/${prefix.replace(/\/$/, "")}`;
    this.#client = s3Client(bucket);
    this.#prefix = prefix;
  }

  /** Errors of the store, with a hint and without credentials. */
  async #asked<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof UserError) throw error;
      const { code } = error as { code?: string | number };
      throw new UserError(
        `the store ${this.shown} does not answer as it should: ${errorMessage(error)}${code === undefined ? "" : ` (${code})`}`,
        "check bucket, S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in the environment of this process",
        { cause: error },
      );
    }
  }

  async list(folder: string, after = ""): Promise<string[]> {
    const pages = await this.#pages(folder, after);
    const keys = pages.flatMap(({ contents = [] }) =>
      contents.map(({ key }) => key.slice(this.#prefix.length)),
    );
    return keys.filter((name) => name > after).sort();
  }

  async folders(folder: string): Promise<string[]> {
    const pages = await this.#pages(folder, "");
    return pages
      .flatMap(({ commonPrefixes = [] }) => commonPrefixes.map((p) => p.prefix.slice(this.#prefix.length)))
      .sort();
  }

  #pages(folder: string, after: string): Promise<Bun.S3ListObjectsResponse[]> {
    return this.#asked(async () => {
      const pages: Bun.S3ListObjectsResponse[] = [];
      for (let token: string | undefined; ;) {
        const page = await bounded(
          this.#client.list({
            prefix: this.#prefix + folder,
            delimiter: "/",
            ...(after === "" ? {} : { startAfter: this.#prefix + after }),
            ...(token === undefined ? {} : { continuationToken: token }),
          }),
        );
        pages.push(page);
        token = page.isTruncated === true ? page.nextContinuationToken : undefined;
        if (token === undefined) return pages;
      }
    });
  }

  get(name: string): Promise<Uint8Array | null> {
    return this.#asked(async () => {
      const answer = await this.#fetch("GET", name);
      if (answer.status === 404) {
        await requireMissingKey(answer);
        return null;
      }
      await requireOk(answer);
      return new Uint8Array(await answer.arrayBuffer());
    });
  }

  create(name: string, bytes: Uint8Array): Promise<boolean> {
    return this.#asked(async () => {
      // A store without conditional writes ignores the header: then this look is the only guard.
      const present = await this.#fetch("HEAD", name);
      if (present.ok) return false;
      const answer = await this.#fetch("PUT", name, bytes, { "if-none-match": "*" });
      if (answer.status === 412 || answer.status === 409) {
        await answer.arrayBuffer();
        return false;
      }
      await requireOk(answer);
      return true;
    });
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.#asked(async () => requireOk(await this.#fetch("PUT", name, bytes)));
  }

  upload(name: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.#asked(async () => {
      const writer = this.#client
        .file(this.#prefix + name)
        .writer({ partSize: PART, queueSize: 2, retry: 3 });
      try {
        for await (const chunk of chunks) {
          void writer.write(chunk as Uint8Array<ArrayBuffer>);
          await bounded(Promise.resolve(writer.flush()));
        }
        await bounded(Promise.resolve(writer.end()));
      } catch (error) {
        await Promise.resolve(writer.end(error as Error)).catch(() => {});
        throw error;
      }
    });
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    return this.#client.file(this.#prefix + name).stream() as unknown as AsyncIterable<Uint8Array>;
  }

  async remove(name: string): Promise<void> {
    await this.#asked(() => bounded(this.#client.delete(this.#prefix + name)));
  }

  /** Requests with a bound in time, which the client itself does not have. */
  #fetch(
    method: "GET" | "HEAD" | "PUT",
    name: string,
    body?: Uint8Array,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const url = this.#client.presign(this.#prefix + name, { method, expiresIn: SIGNED_SECONDS });
    return fetch(url, {
      ...{ method, headers, redirect: "error", signal: AbortSignal.timeout(ANSWER_MS) },
      ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
    });
  }
}

/** The client waits for an answer without end. */
const bounded = <T>(work: Promise<T>): Promise<T> => within(PART_MS, work, "no answer for two minutes");

/** A missing bucket is no missing object. */
async function requireMissingKey(answer: Response): Promise<void> {
  const code = codeIn(await answer.text());
  if (code !== "" && code !== "NoSuchKey") throw new Error(`it answers 404 (${code})`);
}

async function requireOk(answer: Response): Promise<void> {
  if (answer.ok) return;
  const code = codeIn(await answer.text());
  throw new Error(`it answers ${answer.status}${code === "" ? "" : ` (${code})`}`);
}
