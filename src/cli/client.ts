/** A client of the node on this machine: its API over the control socket in the data directory. */
import { existsSync } from "node:fs";
import { showDuration } from "../base/duration.ts";
import { UserError } from "../base/errors.ts";

const HINT = "start it with marmot run, or check --db and --data-dir";
const DEFAULT_MS = 10_000;

export class NodeClient {
  readonly #socket: string;

  constructor(dataDir: string) {
    this.#socket = `${dataDir}/control.sock`;
  }

  /** Whether a node answers here. */
  async answers(timeoutMs: number): Promise<boolean> {
    try {
      return (await this.#fetch("GET", "/healthz", timeoutMs)).ok;
    } catch {
      return false;
    }
  }

  /** The lines of an answer that may have no end. Throws `UserError` when the node refuses, or goes. */
  async *lines(path: string): AsyncGenerator<string, void> {
    if (!existsSync(this.#socket))
      throw new UserError(`no node runs here: there is no ${this.#socket}`, HINT);
    let rest = "";
    let answered = false;
    try {
      const response = await this.#fetch("GET", path, null, { accept: "application/x-ndjson" });
      if (!response.ok) {
        const { error, hint } = (await response.json()) as { error?: string; hint?: string };
        throw new UserError(error ?? `the node answered ${response.status}`, hint ?? HINT);
      }
      answered = true;
      const decoder = new TextDecoder();
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
        rest = lines.pop()!;
        yield* lines;
      }
    } catch (error) {
      if (error instanceof UserError) throw error;
      const why = answered ? "ended, and with it the answer" : whyNoAnswer(error, DEFAULT_MS);
      const hint = answered ? "when it runs again, go on with --since and the last position" : HINT;
      throw new UserError(`the node at ${this.#socket} ${why}`, hint, {
        cause: error,
      });
    }
  }

  /** Like `request` with POST, but accepts the answer that the time ran out (504). */
  async requestWait<T>(path: string, timeoutMs: number): Promise<T> {
    return this.request<T>("POST", path, timeoutMs, [504]);
  }

  /** The parsed answer. Throws `UserError` when no node answers, and for an error that it answers. */
  async request<T>(
    method: "GET" | "POST",
    path: string,
    timeoutMs = DEFAULT_MS,
    alsoGood: readonly number[] = [],
  ): Promise<T> {
    if (!existsSync(this.#socket))
      throw new UserError(`no node runs here: there is no ${this.#socket}`, HINT);
    let response: Response;
    let body: T & { error?: string; hint?: string };
    try {
      response = await this.#fetch(method, path, timeoutMs);
      body = (await response.json()) as typeof body;
    } catch (error) {
      throw new UserError(`the node at ${this.#socket} ${whyNoAnswer(error, timeoutMs)}`, HINT, {
        cause: error,
      });
    }
    if (!response.ok && !alsoGood.includes(response.status))
      throw new UserError(body.error ?? `the node answered ${response.status}`, body.hint ?? HINT);
    return body;
  }

  /** `timeoutMs`: null: no limit. */
  #fetch(
    method: string,
    path: string,
    timeoutMs: number | null,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return fetch(`http://localhost${path}`, {
      ...{ method, headers, unix: this.#socket },
      ...(timeoutMs === null ? {} : { signal: AbortSignal.timeout(timeoutMs) }),
      // The signal is the only limit: a wait or a comparison may be silent for longer than Bun's own limit.
      timeout: false,
    } as RequestInit & { unix: string; timeout: false });
  }
}

/** The runtime's own messages name its functions and options, so they are not shown. */
function whyNoAnswer(error: unknown, timeoutMs: number): string {
  const { name, code } = error as { name?: string; code?: string };
  if (name === "TimeoutError") return `did not answer within ${showDuration(timeoutMs)}`;
  if (code === "ECONNRESET") return "closed the connection before it answered";
  if (code === "ECONNREFUSED" || code === "FailedToOpenSocket") return "does not answer: it has stopped";
  if (name === "SyntaxError") return "gave an answer that is not JSON";
  return `does not answer${code === undefined ? "" : `: ${code}`}`;
}
