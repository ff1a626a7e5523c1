/** Talking to the node on this machine: its API over the control socket in the data directory. */
import { existsSync } from "node:fs";
import { errorMessage, UserError } from "../base/errors.ts";
import type { Options } from "./options.ts";
import { usage } from "./options.ts";
import { text } from "./verb.ts";

/** Where the node's files are, from `--data-dir` or `--db`. */
export function dataDirOf(options: Options): string {
  const folder = text(options, "data-dir");
  const db = text(options, "db");
  if (folder !== null) return folder;
  if (db !== null) return `${db}.marmot`;
  throw usage(["which node? give --db FILE or --data-dir DIR"]);
}

export class NodeClient {
  readonly #socket: string;

  constructor(dataDir: string) {
    this.#socket = `${dataDir}/control.sock`;
  }

  /** Like `request`, but running out of time (504) is an answer, too. */
  async requestWait<T>(path: string, timeoutMs: number): Promise<T> {
    return this.request<T>("POST", path, timeoutMs, [504]);
  }

  /** The parsed answer. Throws `UserError` when no node answers, or with what it answered. */
  async request<T>(
    method: "GET" | "POST",
    path: string,
    timeoutMs = 10_000,
    alsoGood: readonly number[] = [],
  ): Promise<T> {
    const cure = "start it with marmot run, or check --db and --data-dir";
    if (!existsSync(this.#socket))
      throw new UserError(`no node runs here: there is no ${this.#socket}`, cure);
    let response: Response;
    try {
      response = await fetch(`http://localhost${path}`, {
        method,
        unix: this.#socket,
        signal: AbortSignal.timeout(timeoutMs),
      });
    } catch (error) {
      throw new UserError(`the node at ${this.#socket} does not answer: ${errorMessage(error)}`, cure, {
        cause: error,
      });
    }
    const body = (await response.json()) as T & { error?: string; cure?: string };
    if (!response.ok && !alsoGood.includes(response.status))
      throw new UserError(body.error ?? `the node answered ${response.status}`, body.cure ?? cure);
    return body;
  }
}
