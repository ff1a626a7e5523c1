/** The responses of the admin API: JSON, plain text, errors with a hint, and the page. */
import page from "./page.html" with { type: "text" };

const HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff" };

/** Only its own styles, script and API; never in a frame of another page. */
const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

export const json = (value: unknown, status = 200): Response =>
  new Response(`${JSON.stringify(value)}\n`, {
    status,
    headers: { ...HEADERS, "content-type": "application/json" },
  });

export const plain = (text: string, status = 200, headers: Record<string, string> = {}): Response =>
  new Response(`${text}\n`, {
    status,
    headers: { ...HEADERS, "content-type": "text/plain; charset=utf-8", ...headers },
  });

export const failure = (status: number, error: string, hint: string): Response =>
  json({ error, hint }, status);

export const metricsText = (text: string): Response =>
  new Response(text, {
    headers: { ...HEADERS, "content-type": "text/plain; version=0.0.4; charset=utf-8" },
  });

export const dashboard = (): Response =>
  new Response(page as unknown as string, {
    headers: {
      ...HEADERS,
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": PAGE_POLICY,
    },
  });
