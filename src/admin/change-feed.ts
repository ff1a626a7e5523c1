/** The change feed as a response: server-sent events, or JSON lines by the Accept header. */
import type { ChangeLine, ChangeStream } from "../operations/changes-api.ts";

const NDJSON = "application/x-ndjson";
const EVENTS = "text/event-stream";

const asJsonLine = ({ json }: ChangeLine): string => `${json}\n`;

/** Only the last event of a position has an id: a client that connects again gets the others of that position again. */
const asEvent = ({ kind, json, last, position }: ChangeLine): string =>
  `event: ${kind}\n${last ? `id: ${position}\n` : ""}data: ${json}\n\n`;

/** The lines are asked for as the client takes them, and closed with its connection. */
export function changesResponse(stream: ChangeStream, headers: Headers, onEnd: () => void): Response {
  const isNdjson = /\bapplication\/(?:x-)?(?:nd)?json/.test(headers.get("accept") ?? "");
  const show = isNdjson ? asJsonLine : asEvent;
  const encoder = new TextEncoder();
  let ended = false;
  const end = (): void => {
    if (!ended) onEnd();
    ended = true;
    stream.close();
  };
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const lines = await stream.next();
        if (lines !== null) controller.enqueue(encoder.encode(lines.map(show).join("")));
        else {
          end();
          controller.close();
        }
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      "content-type": isNdjson ? NDJSON : `${EVENTS}; charset=utf-8`,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      // A proxy must not gather events.
      "x-accel-buffering": "no",
    },
  });
}
