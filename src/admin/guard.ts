/**
 * The access rules of the admin API's TCP port. Without a token it listens on loopback only, and answers only requests
 * with a loopback name in their Host header: that refuses web pages that use DNS rebinding. Requests of other origins are
 * refused, too. With a token each request needs it. The control socket has no guard; file permissions protect it.
 */
import { timingSafeEqual } from "node:crypto";

/** `host`: a name or an address without a port, as in `--admin` and in a Host header. */
export const isLoopback = (host: string): boolean => /^(127(\.\d{1,3}){3}|localhost|::1)$/i.test(host);

/** "host", "host:port", "[v6]:port" ⇒ the host. */
const hostOf = (header: string): string => header.replace(/:\d*$/, "").replace(/^\[|\]$/g, "");

/** Longer headers are refused without being decoded. */
const MAX_AUTHORIZATION = 4096;

/** Paths that may be public: they tell nothing of the data. */
export const PUBLIC_PATHS = { health: "/healthz", ready: "/readyz", metrics: "/metrics" } as const;
export type PublicName = keyof typeof PUBLIC_PATHS;

/** The refusal; null: the request may pass. `open`: the paths that anyone may read. */
export function refusal(
  request: Request,
  token: string | null,
  open: readonly PublicName[] = [],
): Response | null {
  if (open.length > 0 && isOpen(request, open)) return null;
  const host = request.headers.get("host") ?? "";
  const origin = request.headers.get("origin");
  if (origin !== null && originHost(origin) !== host)
    return deny(403, "requests of other origins are refused");
  if (token === null) return isLoopback(hostOf(host)) ? null : deny(403, "this host name is refused");
  if (isAuthorized(request.headers.get("authorization") ?? "", token)) return null;
  return deny(401, "a token is needed: Authorization: Bearer TOKEN, or as password of any user", {
    // Makes a browser ask for it.
    "www-authenticate": 'Basic realm="marmot", charset="UTF-8"',
  });
}

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
