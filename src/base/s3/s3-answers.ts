/** Answers of an S3 store, with limits in time, which Bun's client does not have. */
import { systemClock } from "../clock.ts";

/** No answer came in time. */
export class LimitError extends Error {}

/** Rejects with `LimitError` after the time. The work itself may go on, and its result is ignored. */
export function within<T>(ms: number, work: Promise<T>, message = "no answer in time"): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.after(ms, () => reject(new LimitError(message)));
    work.then(resolve, reject).finally(() => timer.cancel());
  });
}

/** The code in the document of an error; "": it has none. */
export const codeIn = (text: string): string => /<Code>([^<]*)<\/Code>/.exec(text)?.[1] ?? "";
