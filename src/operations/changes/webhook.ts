/**
 * The webhook of the change feed: each event is sent to one consumer by POST, in order, at least once. The position of the last event that
 * was taken is on disk; without one the feed begins when it is switched on. A consumer that refuses is asked again, more and more slowly.
 */
import { createHmac } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { type Clock, sleep } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { showPosition } from "../../base/text/position-token.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { openChanges } from "./change-stream.ts";
import type { ChangeLine, ChangeStream, WebhookStatus } from "../changes-api.ts";
import type { PastSource } from "./past-source.ts";

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 30_000;
/** The consumer must answer within this time. */
const ANSWER_MS = 30_000;
const LOOK_MS = 250;
/** Positions are stored at most this often; after a crash events since then are sent again. */
const STORE_MS = 200;

export interface WebhookComponents {
  /** null: the node joins, or replaces its replica. */
  readonly replicator: () => Replicator | null;
  /** null: there is no archive. */
  readonly past: () => PastSource | null;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where the position is kept. */
  readonly file: string;
}

export interface WebhookOptions {
  readonly url: string;
  /** Signs each event; null: no signature. */
  readonly secret: string | null;
}

export class Webhook {
  readonly #components: WebhookComponents;
  readonly #options: WebhookOptions;
  readonly #abort = new AbortController();
  #stream: ChangeStream | null = null;
  #position = "";
  #stored = "";
  #storedAt = Number.NEGATIVE_INFINITY;
  #sent = 0;
  #failures = 0;
  #error = "";

  constructor(components: WebhookComponents, options: WebhookOptions) {
    this.#components = components;
    this.#options = options;
    this.#position = this.#stored = readPosition(components.file, options.url);
  }

  get status(): WebhookStatus {
    const { url: to } = this.#options;
    const { origin, pathname } = new URL(to);
    // A user, a password or a token in the query is a secret.
    return {
      ...{ to: `${origin}${pathname}`, position: this.#position },
      ...{ sent: this.#sent, failures: this.#failures, error: this.#error },
    };
  }

  start(): void {
    void this.#run();
  }

  stop(): void {
    this.#abort.abort();
    this.#stream?.close();
    this.#store(true);
  }

  get #isStopped(): boolean {
    return this.#abort.signal.aborted;
  }

  async #run(): Promise<void> {
    const { clock, replicator, logger } = this.#components;
    let pause = FIRST_PAUSE_MS;
    while (!this.#isStopped) {
      const now = replicator();
      if (now === null || now.history === null) {
        await sleep(clock, LOOK_MS);
        continue;
      }
      try {
        await this.#follow(now, () => {
          pause = FIRST_PAUSE_MS;
        });
      } catch (error) {
        if (this.#isStopped) return;
        this.#failures++;
        const reason = inWords(error);
        if (reason !== this.#error)
          logger.warn("the consumer of the change feed does not take an event", {
            to: this.status.to,
            error: reason,
          });
        this.#error = reason;
        await Promise.race([sleep(clock, pause), aborted(this.#abort.signal)]);
        pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
      }
    }
  }

  /** Sends events until one is not taken, or the history ends. */
  async #follow(replicator: Replicator, onTaken: () => void): Promise<void> {
    const { clock, past } = this.#components;
    if (this.#position === "") this.#position = showPosition(replicator.replica.replica.positions());
    this.#store(true);
    const wanted = { since: this.#position, tables: null, follow: true };
    const stream = await openChanges(replicator, clock, wanted, past());
    this.#stream = stream;
    try {
      for (;;) {
        const lines = await stream.next();
        if (lines === null || this.#isStopped) return;
        for (const line of lines) {
          if (line.kind === "end") throw new Error((JSON.parse(line.json) as { reason: string }).reason);
          if (line.kind === "alive") continue;
          await this.#send(line);
          if (this.#error !== "")
            this.#components.logger.info("the consumer of the change feed takes events again");
          this.#error = "";
          onTaken();
          this.#sent++;
          if (line.last) this.#position = line.position;
          this.#store(false);
        }
      }
    } finally {
      stream.close();
      this.#stream = null;
      this.#store(true);
    }
  }

  async #send(line: ChangeLine): Promise<void> {
    const { url, secret } = this.#options;
    const signature = secret === null ? {} : { "marmot-signature": `sha256=${sign(secret, line.json)}` };
    const answer = await fetch(url, {
      method: "POST",
      headers: {
        ...{ "content-type": "application/json", "marmot-event": line.kind },
        ...(line.last ? { "marmot-position": line.position } : {}),
        ...signature,
      },
      body: line.json,
      redirect: "manual",
      signal: AbortSignal.any([this.#abort.signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    await answer.arrayBuffer();
    if (answer.status >= 300 && answer.status < 400)
      throw new Error(
        `it answers ${answer.status}, a redirect, which is not followed: give the final address`,
      );
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
  }

  #store(now: boolean): void {
    const { clock, file, logger } = this.#components;
    if (this.#position === this.#stored || (!now && clock.now() - this.#storedAt < STORE_MS)) return;
    try {
      const text = JSON.stringify({ url: this.#options.url, position: this.#position });
      writeFileSync(`${file}.new`, text, { mode: 0o600 });
      renameSync(`${file}.new`, file);
      this.#stored = this.#position;
      this.#storedAt = clock.now();
    } catch (error) {
      logger.warn("the position of the change feed is not stored", { error: errorMessage(error) });
    }
  }
}

/** The runtime's messages have the whole address, with its secrets. */
function inWords(error: unknown): string {
  if (error instanceof UserError) return `${error.message} (${error.hint})`;
  const { name = "", code } = error as { name?: string; code?: unknown };
  if (name === "TimeoutError") return `no answer within ${ANSWER_MS / 1000} s`;
  if (typeof code !== "string") return errorMessage(error).replace(/https?:\/\/\S+/g, "its address");
  return CODES[code] ?? `it cannot be reached (${code})`;
}

const CODES: Readonly<Record<string, string>> = {
  ConnectionRefused: "the connection is refused",
  ECONNREFUSED: "the connection is refused",
  ConnectionClosed: "the connection is closed without an answer",
  ECONNRESET: "the connection is closed without an answer",
};

export const sign = (secret: string, body: string): string =>
  createHmac("sha256", secret).update(body).digest("hex");

/** "": there is none for this consumer. */
function readPosition(file: string, url: string): string {
  try {
    const stored = JSON.parse(readFileSync(file, "utf8")) as { url?: unknown; position?: unknown };
    return stored.url === url && typeof stored.position === "string" ? stored.position : "";
  } catch {
    return "";
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
