/** What the admin API answers: the paths of interface.md. State changes by POST alone. */
import { errorMessage, UserError } from "../base/errors.ts";
import type { NodeApi } from "../node/api.ts";
import { renderMetrics } from "./prometheus.ts";
import page from "./page.html" with { type: "text" };

/** Characters of a path with its query: any of ours is far below. */
const MAX_URL = 4096;
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 3_600_000;
/** Requests that wait for something at once; each costs a look every few milliseconds. */
const MAX_WAITING = 64;
const MAX_CONFLICTS = 10_000;

/** The conflicts' path; the rest of it is the id. */
const CONFLICT = "/api/v1/conflicts/";
/** … and after the id what is to be done with it. */
const RESTORE = "/restore";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff" };

const json = (value: unknown, status = 200): Response =>
  new Response(`${JSON.stringify(value)}\n`, {
    status,
    headers: { ...HEADERS, "content-type": "application/json" },
  });

const plain = (text: string, status = 200, headers: Record<string, string> = {}): Response =>
  new Response(`${text}\n`, {
    status,
    headers: { ...HEADERS, "content-type": "text/plain; charset=utf-8", ...headers },
  });

const failure = (status: number, error: string, cure: string): Response => json({ error, cure }, status);

/** Its own styles and script, its own API, and in nobody's frame. */
const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

function milliseconds(value: string | null): number {
  if (value === null) return DEFAULT_WAIT_MS;
  const match = /^(\d{1,10}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(value);
  if (match === null)
    throw new UserError(`timeout should be a duration such as 10s, not ${value}`, "use 500ms, 10s or 2m");
  return Math.min(MAX_WAIT_MS, Number(match[1]) * UNITS[match[2] ?? "ms"]!);
}

function truth(name: string, value: string | null): boolean {
  if (value === null || value === "false" || value === "0") return false;
  if (value === "true" || value === "1" || value === "") return true;
  throw new UserError(`${name} should be true or false, not ${value}`, `use ${name}=true, or leave it out`);
}

function conflictLimit(value: string | null): number {
  const limit = Number(value ?? 100);
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_CONFLICTS) return limit;
  throw new UserError(
    `limit should be a whole number from 1 to ${MAX_CONFLICTS}, not ${value ?? ""}`,
    "leave it out for the newest 100",
  );
}

type Handler = (api: NodeApi, query: URLSearchParams, path: string) => Response | Promise<Response>;

export interface RoutesOptions {
  /** What a node that has not started yet is at, in a sentence. */
  readonly starting: () => string;
}

export class Routes {
  readonly #options: RoutesOptions;
  #api: NodeApi | null = null;
  #waiting = 0;
  #verifying = false;

  constructor(options: RoutesOptions) {
    this.#options = options;
  }

  /** From now on there is a node to ask. */
  attach(api: NodeApi): void {
    this.#api = api;
  }

  /** Never throws. */
  async answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname.length + url.search.length > MAX_URL) return plain("the URL is too long", 414);
    // A HEAD is answered like its GET; the server leaves the body out.
    const method = request.method === "HEAD" ? "GET" : request.method;
    const path = url.pathname.startsWith(CONFLICT) ? CONFLICT : url.pathname;
    const handler = this.#table[`${method} ${path}`];
    if (handler === undefined) {
      const allowed = ["GET", "POST"].filter((m) => this.#table[`${m} ${path}`] !== undefined);
      return allowed.length > 0
        ? plain("method not allowed", 405, { allow: allowed.join(", ") })
        : plain("not found", 404);
    }
    try {
      if (this.#api !== null) return await handler(this.#api, url.searchParams, url.pathname);
      if (path === "/healthz") return plain("ok");
      if (path === "/") return this.#page();
      const reason = this.#options.starting();
      return path === "/readyz"
        ? plain(reason, 503)
        : failure(503, `this node is not there yet: ${reason}`, "ask again in a moment");
    } catch (error) {
      if (error instanceof UserError) return failure(400, error.message, error.cure);
      return failure(500, errorMessage(error), "see the node's log");
    }
  }

  #page(): Response {
    return new Response(page as unknown as string, {
      headers: {
        ...HEADERS,
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": PAGE_POLICY,
      },
    });
  }

  async #wait(api: NodeApi, query: URLSearchParams): Promise<Response> {
    const options = { all: truth("all", query.get("all")), timeoutMs: milliseconds(query.get("timeout")) };
    if (this.#waiting >= MAX_WAITING)
      return failure(503, `${MAX_WAITING} requests wait already`, "wait for one of them to return");
    this.#waiting++;
    try {
      const result = await api.wait(options);
      return json(result, result.done ? 200 : 504);
    } finally {
      this.#waiting--;
    }
  }

  async #verify(api: NodeApi, query: URLSearchParams): Promise<Response> {
    const options = {
      deep: truth("deep", query.get("deep")),
      repair: truth("repair", query.get("repair")),
      timeoutMs: milliseconds(query.get("timeout")),
    };
    if (this.#verifying)
      return failure(503, "this node compares already", "wait for the other verify to return");
    this.#verifying = true;
    try {
      return json(await api.verify(options));
    } finally {
      this.#verifying = false;
    }
  }

  /** "METHOD path" ⇒ handler. */
  readonly #table: Readonly<Record<string, Handler>> = {
    "GET /": () => this.#page(),
    "GET /healthz": () => plain("ok"),
    "GET /readyz": (api) => {
      const reason = api.notReady();
      return reason === null ? plain("ready") : plain(reason, 503);
    },
    "GET /metrics": (api) =>
      new Response(renderMetrics(api.metrics()), {
        headers: { ...HEADERS, "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      }),
    "GET /api/v1/status": (api) => json(api.status()),
    "GET /api/v1/members": (api) => json(api.status().members),
    "POST /api/v1/wait": (api, query) => this.#wait(api, query),
    "POST /api/v1/verify": (api, query) => this.#verify(api, query),
    "GET /api/v1/conflicts": (api, query) =>
      json(api.conflicts({ limit: conflictLimit(query.get("limit")) })),
    [`GET ${CONFLICT}`]: (api, _query, path) => {
      const id = decoded(path.slice(CONFLICT.length));
      const found = id === null ? null : api.conflict(id);
      return found === null ? NO_CONFLICT(id ?? path) : json(found);
    },
    [`POST ${CONFLICT}`]: async (api, query, path) => {
      if (!path.endsWith(RESTORE)) return plain("method not allowed", 405, { allow: "GET" });
      const id = decoded(path.slice(CONFLICT.length, -RESTORE.length));
      const options = {
        asNew: truth("asNew", query.get("asNew")),
        overwrite: truth("overwrite", query.get("overwrite")),
      };
      const done = id === null ? null : await api.restore(id, options);
      return done === null ? NO_CONFLICT(id ?? path) : json(done);
    },
  };
}

const NO_CONFLICT = (id: string): Response =>
  failure(404, `there is no conflict ${id}`, "marmot conflicts list shows those that are kept");

/** null: no valid escapes. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
