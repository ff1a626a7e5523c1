/**
 * The access rules of the admin API's TCP port. Without a token it listens on loopback only, and answers only requests
 * with a loopback name in their Host header: that refuses web pages that use DNS rebinding. Requests of other origins are
 * refused, too. With a token each request needs it, or the cookie of a session of the page; then a change also needs a
 * header that only the page itself can send. The control socket has no guard; file permissions protect it.
 */
import { timingSafeEqual } from "node:crypto";
import type { Sessions } from "./sessions.ts";

/** `host`: a name or an address without a port, as in `--admin` and in a Host header. */
export const isLoopback = (host: string): boolean => /^(127(\.\d{1,3}){3}|localhost|::1)$/i.test(host);

/** "host", "host:port", "[v6]:port" ⇒ the host. */
const hostOf = (header: string): string => header.replace(/:\d*$/, "").replace(/^\[|\]$/g, "");

/** Longer headers are refused without being decoded. */
const MAX_AUTHORIZATION = 4096;

/** Paths that may be public: they tell nothing of the data. */
export const PUBLIC_PATHS = { health: "/healthz", ready: "/readyz", metrics: "/metrics" } as const;
export type PublicName = keyof typeof PUBLIC_PATHS;

/** Sent by the page: another site cannot add it to a request, since this API permits no other origin. */
const PAGE_HEADER = "x-marmot-page";
const SESSION_PATH = "/api/v1/session";

export interface Access {
  /** null: none is required. */
  readonly token: string | null;
  /** The paths that anyone may read. */
  readonly open: readonly PublicName[];
  readonly sessions: Sessions;
  /** The page, which has no data: a browser without a session gets it with the status 401. */
  readonly page: (status: number, headers: Record<string, string>) => Response;
}

/** The refusal, or the answer to a log-in; null: the request may pass. */
export function refusal(request: Request, access: Access): Response | null {
  const { token, open, sessions } = access;
  if (open.length > 0 && isOpen(request, open)) return null;
  const host = request.headers.get("host") ?? "";
  const origin = request.headers.get("origin");
  if (origin !== null && originHost(origin) !== host)
    return deny(403, "requests of other origins are refused");
  if (token === null) return isLoopback(hostOf(host)) ? null : deny(403, "this host name is refused");
  const { pathname } = new URL(request.url);
  const port = /:(\d+)$/.exec(host)?.[1] ?? "80";
  const cookies = request.headers.get("cookie") ?? "";
  if (isAuthorized(request.headers.get("authorization") ?? "", token)) {
    if (pathname !== SESSION_PATH || request.method !== "POST") return null;
    return new Response(null, { status: 204, headers: { "set-cookie": sessions.begin(port) } });
  }
  const isPage = request.headers.has(PAGE_HEADER);
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (sessions.has(cookies, port)) {
    if (!isRead && !isPage) return deny(403, `a change through a session needs the header ${PAGE_HEADER}`);
    if (pathname !== SESSION_PATH || isRead) return null;
    return new Response(null, { status: 204, headers: { "set-cookie": sessions.end(cookies, port) } });
  }
  const isBrowser = request.headers.get("accept")?.includes("text/html") ?? false;
  if (pathname === "/" && isRead && isBrowser) return access.page(401, { "www-authenticate": BEARER });
  return deny(401, "a token is needed: Authorization: Bearer TOKEN, or as password of any user", {
    // "Basic" makes a browser ask for it; the page asks itself.
    "www-authenticate": isPage ? BEARER : 'Basic realm="marmot", charset="UTF-8"',
  });
}

const BEARER = 'Bearer realm="marmot"';

function isOpen({ method, url }: Request, open: readonly PublicName[]): boolean {
  const { pathname } = new URL(url);
  return (method === "GET" || method === "HEAD") && open.some((name) => PUBLIC_PATHS[name] === pathname);
}

function originHost(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}

/** `Bearer TOKEN`, or `Basic` with the token as password. */
function isAuthorized(header: string, token: string): boolean {
  if (header.length > MAX_AUTHORIZATION) return false;
  const [scheme, credentials = ""] = header.split(" ", 2);
  if (scheme?.toLowerCase() === "bearer") return isSame(credentials, token);
  if (scheme?.toLowerCase() !== "basic") return false;
  const pair = Buffer.from(credentials, "base64").toString("utf8");
  return pair.includes(":") && isSame(pair.slice(pair.indexOf(":") + 1), token);
}

/** Takes the same time wherever the two differ, so that a token cannot be guessed letter by letter. */
function isSame(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}

const deny = (status: number, text: string, headers: Record<string, string> = {}): Response =>
  new Response(`${text}\n`, { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers } });
