/** Talking to the node on this machine: its API over the control socket in the data directory. */
import { existsSync } from "node:fs";
import { errorMessage, UserError } from "../base/errors.ts";

const CURE = "start it with marmot run, or check --db and --data-dir";
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

  /** Like `request` by POST, but running out of time (504) is an answer, too. */
  async requestWait<T>(path: string, timeoutMs: number): Promise<T> {
    return this.request<T>("POST", path, timeoutMs, [504]);
  }

  /** The parsed answer. Throws `UserError` when no node answers, or with what it answered. */
  async request<T>(
    method: "GET" | "POST",
    path: string,
    timeoutMs = DEFAULT_MS,
    alsoGood: readonly number[] = [],
  ): Promise<T> {
    if (!existsSync(this.#socket))
      throw new UserError(`no node runs here: there is no ${this.#socket}`, CURE);
    let response: Response;
    let body: T & { error?: string; hint?: string };
    try {
      response = await this.#fetch(method, path, timeoutMs);
      body = (await response.json()) as typeof body;
    } catch (error) {
      throw new UserError(`the node at ${this.#socket} does not answer: ${errorMessage(error)}`, CURE, {
        cause: error,
      });
    }
    if (!response.ok && !alsoGood.includes(response.status))
      throw new UserError(body.error ?? `the node answered ${response.status}`, body.hint ?? CURE);
    return body;
  }

  #fetch(method: string, path: string, timeoutMs: number): Promise<Response> {
    return fetch(`http://localhost${path}`, {
      method,
      unix: this.#socket,
      signal: AbortSignal.timeout(timeoutMs),
      // Ours is the only limit: a wait or a comparison may be silent for longer than Bun's own.
      timeout: false,
    } as RequestInit & { unix: string; timeout: false });
  }
}
