/** The responses of the admin API: JSON, plain text, errors with a hint, and the page. */
import { PAGE, PAGE_POLICY } from "./page/page-document.ts";

const HEADERS = { "cache-control": "no-store", "x-content-type-options": "nosniff" };

export const json = (value: unknown, status = 200, headers: Record<string, string> = {}): Response =>
  new Response(`${JSON.stringify(value)}\n`, {
    status,
    headers: { ...HEADERS, "content-type": "application/json", ...headers },
  });

export const plain = (text: string, status = 200, headers: Record<string, string> = {}): Response =>
  new Response(`${text}\n`, {
    status,
    headers: { ...HEADERS, "content-type": "text/plain; charset=utf-8", ...headers },
  });

export const failure = (
  status: number,
  error: string,
  hint: string,
  headers: Record<string, string> = {},
): Response => json({ error, hint }, status, headers);

export const metricsText = (text: string): Response =>
  new Response(text, {
    headers: { ...HEADERS, "content-type": "text/plain; version=0.0.4; charset=utf-8" },
  });

export const dashboard = (status = 200, headers: Record<string, string> = {}): Response =>
  new Response(PAGE, {
    status,
    headers: {
      ...HEADERS,
      ...headers,
      "referrer-policy": "no-referrer",
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": PAGE_POLICY,
    },
  });
