/** Hands the leadership of all groups over before a node stops, so that no group waits for an election timeout. */
import { type Clock, sleep } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";

/** A stopping node waits so long for other leaders. */
const WITHIN_MS = 1500;
const LOOK_MS = 20;

export interface HandOverComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Asks other voters; the number of groups that one can still take over. */
  readonly ask: () => number;
}

export async function handOverLeadership({ clock, logger, ask }: HandOverComponents): Promise<void> {
  const led = ask();
  if (led === 0) return;
  let left = led;
  for (const end = clock.now() + WITHIN_MS; left > 0 && clock.now() < end;) {
    await sleep(clock, LOOK_MS);
    left = ask();
  }
  logger.event("leader", "handed leadership over", {
    shards: led - left,
    ...(left > 0 ? { kept: left } : {}),
  });
}
