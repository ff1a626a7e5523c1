/** The admin API: on a TCP port for people and monitors, and on the control socket for the verbs. State only changes by POST. */
import { chmodSync, rmSync } from "node:fs";
import { timingSafeEqual } from "node:crypto";
import { errorMessage, UserError } from "../base/errors.ts";
import type { NodeApi } from "../node/api.ts";
import { renderMetrics } from "./metrics.ts";
import page from "./page.html" with { type: "text" };

export interface AdminOptions {
  /** null: no TCP port. */
  readonly address: { readonly host: string; readonly port: number } | null;
  readonly controlSocket: string;
  /** Needed from everybody on the TCP port when it is set. */
  readonly token: string | null;
}

export interface AdminServer {
  /** The dashboard's URL; null: no TCP port. */
  readonly url: string | null;
  stop(): Promise<void>;
}

const MAX_URL = 4096;
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 3_600_000;

const json = (value: unknown, status = 200): Response =>
  new Response(`${JSON.stringify(value)}\n`, { status, headers: { "content-type": "application/json" } });

const plain = (text: string, status = 200): Response =>
  new Response(`${text}\n`, { status, headers: { "content-type": "text/plain; charset=utf-8" } });

function milliseconds(value: string | null): number {
  if (value === null) return DEFAULT_WAIT_MS;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(value);
  if (match === null)
    throw new UserError(`timeout should be a duration such as 10s, not ${value}`, "use 500ms, 10s or 2m");
  const unit = { ms: 1, s: 1000, m: 60_000 }[(match[2] ?? "ms") as "ms" | "s" | "m"];
  return Math.min(MAX_WAIT_MS, Number(match[1]) * unit);
}

const truth = (value: string | null): boolean => value === "true" || value === "1" || value === "";

type Handler = (url: URL) => Response | Promise<Response>;

/** "METHOD path" ⇒ handler. */
function routes(api: NodeApi): Map<string, Handler> {
  return new Map<string, Handler>([
    [
      "GET /",
      () =>
        new Response(page as unknown as string, { headers: { "content-type": "text/html; charset=utf-8" } }),
    ],
    ["GET /healthz", () => plain("ok")],
    [
      "GET /readyz",
      () => {
        const reason = api.notReady();
        return reason === null ? plain("ready") : plain(reason, 503);
      },
    ],
    [
      "GET /metrics",
      () =>
        new Response(renderMetrics(api.metrics()), {
          headers: { "content-type": "text/plain; version=0.0.4" },
        }),
    ],
    ["GET /api/v1/status", () => json(api.status())],
    ["GET /api/v1/members", () => json(api.status().members)],
    [
      "POST /api/v1/wait",
      async ({ searchParams }) => {
        const timeoutMs = milliseconds(searchParams.get("timeout"));
        const result = await api.wait({ all: truth(searchParams.get("all")), timeoutMs });
        return json(result, result.done ? 200 : 504);
      },
    ],
    [
      "POST /api/v1/verify",
      async ({ searchParams }) =>
        json(
          await api.verify({
            deep: truth(searchParams.get("deep")),
            repair: truth(searchParams.get("repair")),
            timeoutMs: milliseconds(searchParams.get("timeout")),
          }),
        ),
    ],
    [
      "GET /api/v1/conflicts",
      ({ searchParams }) => {
        const limit = Number(searchParams.get("limit") ?? 100);
        if (!Number.isInteger(limit) || limit < 1 || limit > 10_000)
          throw new UserError(
            `limit should be a whole number from 1 to 10000, not ${String(searchParams.get("limit"))}`,
            "leave it out",
          );
        return json(api.conflicts({ limit }));
      },
    ],
  ]);
}

function conflict(api: NodeApi, path: string): Response {
  const id = decodeURIComponent(path.slice("/api/v1/conflicts/".length));
  const found = api.conflict(id);
  return found === null
    ? json(
        { error: `there is no conflict ${id}`, cure: "marmot conflicts list shows those that are kept" },
        404,
      )
    : json(found);
}

export async function startAdmin(api: NodeApi, options: AdminOptions): Promise<AdminServer> {
  const table = routes(api);
  const handle = async (request: Request): Promise<Response> => {
    if (request.url.length > MAX_URL) return plain("the URL is too long", 414);
    const url = new URL(request.url);
    try {
      if (request.method === "GET" && url.pathname.startsWith("/api/v1/conflicts/"))
        return conflict(api, url.pathname);
      const handler = table.get(`${request.method} ${url.pathname}`);
      if (handler !== undefined) return await handler(url);
      const other = [...table.keys()].some((key) => key.endsWith(` ${url.pathname}`));
      return other ? plain("method not allowed", 405) : plain("not found", 404);
    } catch (error) {
      if (error instanceof UserError) return json({ error: error.message, cure: error.cure }, 400);
      return json({ error: errorMessage(error), cure: "see the node's log" }, 500);
    }
  };
  rmSync(options.controlSocket, { force: true });
  const control = Bun.serve({
    unix: options.controlSocket,
    fetch: handle,
    maxRequestBodySize: 1 << 16,
  });
  if (process.platform !== "win32") chmodSync(options.controlSocket, 0o600);
  let tcp: Bun.Server<undefined> | null = null;
  if (options.address !== null) {
    const { host, port } = options.address;
    try {
      tcp = Bun.serve({
        hostname: host,
        port,
        idleTimeout: 0,
        maxRequestBodySize: 1 << 16,
        fetch: (request) => guard(request, options.token) ?? handle(request),
      });
    } catch (error) {
      await control.stop(true);
      throw new UserError(
        `the admin API cannot listen on ${host}:${port}: ${errorMessage(error)}`,
        "choose a free port with --admin HOST:PORT, or --admin off",
        {
          cause: error,
        },
      );
    }
  }
  return {
    url: tcp === null ? null : `http://${options.address!.host}:${tcp.port}/`,
    async stop() {
      await Promise.all([control.stop(true), tcp?.stop(true)]);
      rmSync(options.controlSocket, { force: true });
    },
  };
}

/** Keeps web pages of other origins, and whoever lacks the token, away from the TCP port. null: let in. */
function guard(request: Request, token: string | null): Response | null {
  const origin = request.headers.get("origin");
  const host = request.headers.get("host") ?? "";
  if (origin !== null && origin !== `http://${host}`)
    return plain("requests of other origins are refused", 403);
  if (token === null) {
    // Without a token this is a loopback address: a name that leads here by DNS rebinding is not one of it.
    const name = host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    return /^(127\.\d+\.\d+\.\d+|localhost|::1)$/.test(name) ? null : plain("this host name is refused", 403);
  }
  const given = Buffer.from(request.headers.get("authorization") ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted)
    ? null
    : plain("a token is needed: Authorization: Bearer …", 401);
}
