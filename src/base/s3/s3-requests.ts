/**
 * Requests to an S3 store that end: each has a limit in time, and one that fails because of the network, or of a store that is busy, is
 * sent again. Bun's own client has no limits.
 */
import { sleep, systemClock } from "../clock.ts";
import { errorMessage, UserError } from "../errors.ts";
import { codeIn, LimitError, within } from "./s3-answers.ts";

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 200;
/** For an answer to a request without a body. */
const ANSWER_MS = 10_000;
/** Bytes a second of the slowest uplink. */
const SLOWEST = 100_000;
/** A download without a byte for so long is cut and goes on from its place. */
const STALLED_MS = 20_000;
const SIGNED_SECONDS = 3600;
/** Larger objects are sent in parts: at least of this size, and at most so many. */
const WHOLE = 16 << 20;
const PART = 5 << 20;
const MOST_PARTS = 9000;
/** No object that is read at once is larger. */
const MOST_BYTES = 256 << 20;
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
  if (error instanceof StoreError) return error.status >= 500 || [408, 409, 429].includes(error.status);
  const { code = "" } = error as { code?: string };
  return !/^ERR_S3_|NoSuch|Denied|Invalid|Signature/.test(code);
}

export class S3Requests {
  readonly #client: Bun.S3Client;
  readonly #shown: string;
  readonly #most: number;

  /** `most`: attempts of a request. */
  constructor(client: Bun.S3Client, shown: string, most = ATTEMPTS) {
    this.#client = client;
    this.#shown = shown;
    this.#most = most;
  }

  /** All pages. `startAfter`: only keys after this one. */
  async list(prefix: string, startAfter = ""): Promise<Bun.S3ListObjectsResponse[]> {
    const pages: Bun.S3ListObjectsResponse[] = [];
    for (let token: string | undefined; ;) {
      const wanted = {
        ...{ prefix, delimiter: "/" },
        ...(startAfter === "" ? {} : { startAfter }),
        ...(token === undefined ? {} : { continuationToken: token }),
      };
      const page = await this.#attempts(() => within(ANSWER_MS, this.#client.list(wanted)));
      pages.push(page);
      token = page.isTruncated === true ? page.nextContinuationToken : undefined;
      if (token === undefined) return pages;
    }
  }

  /** null: there is no such object. */
  async sizeOf(key: string): Promise<number | null> {
    const answer = await this.#attempts(() => this.#send("HEAD", key, {}));
    if (answer.status !== 404) return Number(answer.headers.get("content-length"));
    // Only the answer to a GET tells a missing object from a missing bucket.
    await this.#attempts(() => this.#send("GET", key, {}));
    return null;
  }

  /** null: there is no such object. */
  get(key: string): Promise<Uint8Array | null> {
    return this.#attempts(async () => {
      const chunks: Uint8Array[] = [];
      let [bytes, promised, isMissing] = [0, null as string | null, false];
      for await (const chunk of this.#body(key, {}, (answer) => {
        isMissing = answer.status === 404;
        promised = answer.headers.get("content-length");
      })) {
        bytes += chunk.length;
        if (bytes > MOST_BYTES)
          throw new UserError(
            `the store ${this.#shown} sends more than ${MOST_BYTES} bytes of ${key}`,
            "check that S3_ENDPOINT names the store; such an object is none of marmot",
          );
        chunks.push(chunk);
      }
      if (isMissing) return null;
      if (promised !== null && Number(promised) !== bytes) throw cutAfter(bytes, promised);
      return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
    });
  }

  async put(key: string, bytes: Uint8Array, type?: string): Promise<void> {
    await this.#attempts(async () => {
      const headers = type === undefined ? {} : { "content-type": type };
      const answer = await this.#send("PUT", key, { body: bytes, headers });
      await answer.arrayBuffer();
    });
  }

  /**
   * A new object. False: there is another one of this key, and it stays. The answer to an attempt may be lost, and the runtime sends a
   * request again by itself after a cut, so an object with these bytes that appears is that of this call.
   */
  async create(key: string, bytes: Uint8Array): Promise<boolean> {
    const isOurs = async (): Promise<boolean> => {
      const there = await this.get(key);
      return there !== null && Buffer.compare(there, bytes) === 0;
    };
    let isLater = false;
    return this.#attempts(async () => {
      // A store without conditional writes ignores the header: then this look is the only guard.
      if ((await this.sizeOf(key)) !== null) return isLater && (await isOurs());
      isLater = true;
      try {
        await (
          await this.#send("PUT", key, { body: bytes, headers: { "if-none-match": "*" } })
        ).arrayBuffer();
        return true;
      } catch (error) {
        if (error instanceof StoreError && error.status === 412) return isOurs();
        throw error;
      }
    });
  }

  /** `open`: begins again with the first chunk, for a further attempt. `size`: in bytes, if it is known. */
  upload(key: string, open: () => AsyncIterable<Uint8Array>, size: number | null = null): Promise<void> {
    const partSize = Math.max(PART, Math.ceil((size ?? 0) / MOST_PARTS));
    return this.#attempts(() => this.#uploadParts(key, open(), size === null ? WHOLE : partSize));
  }

  async #uploadParts(key: string, chunks: AsyncIterable<Uint8Array>, partSize: number): Promise<void> {
    const writer = this.#client.file(key).writer({ partSize, queueSize: AT_ONCE, retry: 3 });
    try {
      for await (const chunk of chunks) {
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
        throw cutAfter(at, whole);
      } catch (error) {
        if (!isPassing(error) || ++failed >= this.#most) throw this.#refused(error, failed);
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
    const headers = {
      ...(at === 0 ? {} : { range: `bytes=${at}-` }),
      ...(etag === null ? {} : { "if-match": etag }),
    };
    yield* this.#body(key, headers, (answer) => {
      if (answer.status === 404) throw new StoreError(404, "NoSuchKey");
      if (at > 0 && answer.status !== 206)
        throw new UserError(
          `the store ${this.#shown} does not send the rest of an object after the connection was cut`,
          "give the command again",
        );
      onAnswer(answer);
    });
  }

  /** An answer to GET in pieces, which has no limit in time as long as bytes come. */
  async *#body(
    key: string,
    headers: Record<string, string>,
    onAnswer: (answer: Response) => void,
  ): AsyncGenerator<Uint8Array, void> {
    const abort = new AbortController();
    try {
      const answer = await this.#send("GET", key, { headers, signal: abort.signal });
      onAnswer(answer);
      const reader = answer.body?.getReader();
      if (reader === undefined) return;
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
        if (failed === this.#most || !isPassing(error)) throw this.#refused(error, failed);
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
        "check bucket, S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in the environment of this process",
        { cause: error },
      );
    return new UserError(
      `the store ${this.#shown} does not answer as it should${attempts > 1 ? `, in ${attempts} attempts` : ""}: ${inWords(error)}`,
      "check that the store runs, and that S3_ENDPOINT names it",
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

const cutAfter = (bytes: number, promised: number | string): Error =>
  new Error(`the connection was cut after ${bytes} of ${promised} bytes`);
