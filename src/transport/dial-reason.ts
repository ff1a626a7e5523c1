/** Why a dial failed, in a few words for people. */
import { errorMessage } from "../base/errors.ts";

export interface DialReason {
  readonly reason: string;
  /** It may pass by itself: the other node may not have started yet. */
  readonly isPassing: boolean;
}

/** Told by codes of the system; the text of a code differs between runtimes. */
const BY_CODE: readonly (readonly [code: RegExp, reason: string, isPassing: boolean])[] = [
  [/ENOTFOUND|EAI_|getaddrinfo|DNS/i, "the host name is not known", false],
  [/ECONNREFUSED|Failed to connect/i, "connection refused: no program listens there", true],
  [/EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL/i, "there is no route to the host", false],
  [/ETIMEDOUT|TimeoutError|AbortError|timed? ?out|aborted/i, "no answer", true],
];

const OTHER_KEY = "another cluster key, or no Marmot node (it ended the handshake)";

/** All messages, names and codes of an error and of its causes. */
function textOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(textOf).join(" ");
  const { name = "", code = "", cause } = (error ?? {}) as { name?: string; code?: string; cause?: unknown };
  return `${name} ${code} ${errorMessage(error)}${cause === undefined ? "" : ` ${textOf(cause)}`}`;
}

/** `isReached`: the connection was made, and the handshake began. */
export function dialReason(error: unknown, isReached: boolean): DialReason {
  if (isReached) return { reason: OTHER_KEY, isPassing: false };
  const text = textOf(error);
  for (const [code, reason, isPassing] of BY_CODE) if (code.test(text)) return { reason, isPassing };
  return { reason: errorMessage(error), isPassing: true };
}
