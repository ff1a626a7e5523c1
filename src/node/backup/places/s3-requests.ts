/**
 * Requests to an S3 store that end: each has a limit in time, and one that fails because of the network, or of a store that is busy, is
 * sent again. Bun's own client has no limits.
 */
import { createReadStream, statSync } from "node:fs";
import { sleep, systemClock } from "../../../base/clock.ts";
import { errorMessage, UserError } from "../../../base/errors.ts";
import { codeIn, LimitError, within } from "../../../base/s3/s3-answers.ts";

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 200;
/** For an answer to a request without a body. */
const ANSWER_MS = 10_000;
/** Bytes a second of the slowest uplink. */
const SLOWEST = 100_000;
/** A download without a byte for so long is cut and goes on from its place. */
const STALLED_MS = 20_000;
const SIGNED_SECONDS = 3600;
/** Larger files are sent in parts: at least of this size, and at most so many. */
const WHOLE = 16 << 20;
const PART = 5 << 20;
const MOST_PARTS = 9000;
/** Parts on their way at a time. */
const AT_ONCE = 2;
/** For the next part to be on its way. */
const PART_MS = 120_000;

/** The store answers, and not as it should. */
class StoreError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string) {
    super(`it answers ${status}${code === "" ? "" : ` (${code})`}`);
    this.status = status;
    this.code = code;
  }
}

/** Whether a further attempt may succeed. */
function isPassing(error: unknown): boolean {
  if (error instanceof UserError) return false;
  if (error instanceof StoreError) return error.status >= 500 || [408, 429].includes(error.status);
  const { code = "" } = error as { code?: string };
  return !/^ERR_S3_|NoSuch|Denied|Invalid|Signature/.test(code);
}

export class S3Requests {
  readonly #client: Bun.S3Client;
  readonly #shown: string;

  constructor(client: Bun.S3Client, shown: string) {
    this.#client = client;
    this.#shown = shown;
  }

  list(prefix: string, after: string | undefined): Promise<Bun.S3ListObjectsResponse> {
    return this.#attempts(() =>
      within(
        ANSWER_MS,
        this.#client.list({
          ...{ prefix, delimiter: "/" },
          ...(after === undefined ? {} : { continuationToken: after }),
        }),
      ),
    );
  }

  /** null: there is no such object. */
  async sizeOf(key: string): Promise<number | null> {
    const answer = await this.#attempts(() => this.#send("HEAD", key, {}));
    if (answer.status !== 404) return Number(answer.headers.get("content-length"));
    // Only the answer to a GET tells a missing object from a missing bucket.
    await this.get(key);
    return null;
  }

  /** Its status may be 404. */
  get(key: string): Promise<Response> {
    return this.#attempts(async () => {
      const answer = await this.#send("GET", key, {});
      const body = await answer.arrayBuffer();
      requireLength(answer, body.byteLength);
      return new Response(body, { status: answer.status });
    });
  }

  async put(key: string, bytes: Uint8Array, type: string): Promise<void> {
    await this.#attempts(async () => {
      const answer = await this.#send("PUT", key, { body: bytes, headers: { "content-type": type } });
      await answer.arrayBuffer();
    });
  }

  async upload(key: string, path: string): Promise<void> {
    const { size } = statSync(path);
    if (size <= WHOLE) return this.put(key, await Bun.file(path).bytes(), "application/vnd.sqlite3");
    await this.#attempts(() => this.#uploadParts(key, path));
  }

  async #uploadParts(key: string, path: string): Promise<void> {
    const partSize = Math.max(PART, Math.ceil(statSync(path).size / MOST_PARTS));
    const writer = this.#client.file(key).writer({ partSize, queueSize: AT_ONCE, retry: 3 });
    try {
      for await (const chunk of createReadStream(path, { highWaterMark: partSize })) {
        void writer.write(chunk as Uint8Array<ArrayBuffer>);
        await within(PART_MS, Promise.resolve(writer.flush()));
      }
      await within(PART_MS, Promise.resolve(writer.end()));
    } catch (error) {
      // The parts are of no use; the store may not answer to that either.
      void Promise.resolve(writer.end(error as Error)).catch(() => {});
      throw error instanceof LimitError ? this.#refused(error, 1) : error;
    }
  }

  /** A download that is cut goes on from its place. Throws `UserError` where there is no such object. */
  async *stream(key: string): AsyncGenerator<Uint8Array, void> {
    let at = 0;
    let whole: number | null = null;
    let etag: string | null = null;
    for (let failed = 0; whole === null || at < whole;) {
      try {
        for await (const chunk of this.#rest(key, at, etag, (answer) => {
          whole ??= at + Number(answer.headers.get("content-length"));
          etag ??= answer.headers.get("etag");
        })) {
          at += chunk.length;
          failed = 0;
          yield chunk;
        }
        if (whole === null || at >= whole) return;
        throw new Error(`the connection was cut after ${at} of ${whole} bytes`);
      } catch (error) {
        if (!isPassing(error) || ++failed >= ATTEMPTS) throw this.#refused(error, failed);
        await sleep(systemClock, FIRST_PAUSE_MS * 2 ** failed);
      }
    }
  }

  async *#rest(
    key: string,
    at: number,
    etag: string | null,
    onAnswer: (answer: Response) => void,
  ): AsyncGenerator<Uint8Array, void> {
    const abort = new AbortController();
    const answer = await this.#send("GET", key, {
      headers: {
        ...(at === 0 ? {} : { range: `bytes=${at}-` }),
        ...(etag === null ? {} : { "if-match": etag }),
      },
      signal: abort.signal,
    });
    if (answer.status === 404) throw new StoreError(404, "NoSuchKey");
    if (at > 0 && answer.status !== 206)
      throw new UserError(
        `the store ${this.#shown} does not send the rest of an object after the connection was cut`,
        "give the command again",
      );
    onAnswer(answer);
    const reader = answer.body?.getReader();
    if (reader === undefined) return;
    try {
      for (;;) {
        const { done, value } = await within(STALLED_MS, reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      abort.abort();
    }
  }

  async remove(key: string): Promise<void> {
    await this.#attempts(async () => void (await this.#send("DELETE", key, {})));
  }

  /** Resolves with an answer that is good, or 404 for an object that is not there. */
  async #send(
    method: "GET" | "HEAD" | "PUT" | "DELETE",
    key: string,
    {
      body,
      headers = {},
      signal,
    }: { body?: Uint8Array; headers?: Record<string, string>; signal?: AbortSignal },
  ): Promise<Response> {
    const url = this.#client.presign(key, { method, expiresIn: SIGNED_SECONDS });
    const limit = ANSWER_MS + ((body?.length ?? 0) * 1000) / SLOWEST;
    const begun = fetch(url, {
      ...{ method, headers, redirect: "manual" },
      ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
      // A signal with a limit would also end a long download.
      ...(signal === undefined ? { signal: AbortSignal.timeout(limit) } : { signal }),
    });
    const answer = await within(limit, begun);
    if (answer.ok) return answer;
    const code = method === "HEAD" ? "" : codeIn(await answer.text());
    if (answer.status === 404 && ["", "NoSuchKey"].includes(code)) return new Response(null, { status: 404 });
    throw new StoreError(answer.status, code);
  }

  async #attempts<T>(work: () => Promise<T>): Promise<T> {
    for (let failed = 1; ; failed++)
      try {
        return await work();
      } catch (error) {
        if (failed === ATTEMPTS || !isPassing(error)) throw this.#refused(error, failed);
        await sleep(systemClock, FIRST_PAUSE_MS * 2 ** (failed - 1));
      }
  }

  /** The error with a hint, and without credentials. */
  #refused(error: unknown, attempts: number): UserError {
    if (error instanceof UserError) return error;
    const { code = "" } = error as { code?: string };
    const isStore = error instanceof StoreError || /^ERR_S3_|NoSuch|Denied|Invalid|Signature/.test(code);
    if (isStore && !isPassing(error))
      return new UserError(
        `the store ${this.#shown} refuses: ${errorMessage(error)}${error instanceof StoreError || code === "" ? "" : ` (${code})`}`,
        "check bucket, S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in the environment of this command",
        { cause: error },
      );
    return new UserError(
      `the store ${this.#shown} does not answer as it should${attempts > 1 ? `, in ${attempts} attempts` : ""}: ${inWords(error)}`,
      "check that the store runs and that S3_ENDPOINT names it; then give the command again",
      { cause: error },
    );
  }
}

/** The runtime's messages have the whole address, with its signature. */
function inWords(error: unknown): string {
  if (error instanceof StoreError) return error.message;
  const { name = "", code = "" } = error as { name?: string; code?: string };
  if (name === "TimeoutError" || error instanceof LimitError) return "no answer in time";
  if (code === "ECONNREFUSED" || code === "ConnectionRefused") return "the connection is refused";
  if (code === "ECONNRESET" || code === "ConnectionClosed") return "the connection is cut";
  if (code === "DNSResolveFailed" || code === "ENOTFOUND" || code === "FailedToOpenSocket")
    return `it cannot be reached (${code})`;
  return code === "" ? errorMessage(error).replace(/https?:\/\/\S+/g, "its address") : code;
}

function requireLength({ headers }: Response, length: number): void {
  const promised = headers.get("content-length");
  if (promised !== null && Number(promised) !== length)
    throw new Error(`the connection was cut after ${length} of ${promised} bytes`);
}
