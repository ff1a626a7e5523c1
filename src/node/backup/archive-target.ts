/** The moment that a user names, and the wait until a live archive reaches it. */
import type { Archive } from "../../archive/archive.ts";
import { endOf, type Target } from "../../archive/replay.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { parseMoment } from "../../base/text/moment.ts";
import { hasReached, parsePosition } from "../../base/text/position-token.ts";

/** A running cluster tells at least so often that its archive is complete. */
const CLAIM_MS = 35_000;
const WAIT_POSITION_MS = 5000;
const LOOK_MS = 250;

/** Both null: the newest state. Throws `UserError`. */
export function parseTarget(at: string | null, position: string | null, now: number): Target {
  if (position !== null) {
    const parsed = parsePosition(position);
    if (parsed !== null) return { kind: "position", position: parsed };
    throw new UserError(`${position} is no position`, "a position looks like c:812; marmot diff shows them");
  }
  if (at === null) return { kind: "newest" };
  const token = parsePosition(at);
  if (token !== null) return { kind: "position", position: token };
  const time = parseMoment(at, now);
  if (time !== null) return { kind: "time", time };
  throw new UserError(
    `${at} is no time`,
    "use '10 minutes ago', 10m, or a time with its zone: 2026-11-29T12:00:00Z",
  );
}

/** Waits for a moment of the past that a running cluster has not shipped yet. Returns, whether it has or not. */
export async function awaitTarget(archive: Archive, target: Target, clock: Clock): Promise<void> {
  if (target.kind === "newest") return;
  const begun = clock.now();
  const isTime = target.kind === "time";
  if (isTime && target.time > clock.wallTime()) return;
  for (;;) {
    const [{ link }, head] = [await endOf(archive), await archive.head()];
    const until = Math.max(link.since, head?.until ?? 0);
    if (isTime ? until >= target.time : hasReached(link.to, target.position)) return;
    if (clock.wallTime() - until > CLAIM_MS) return;
    if (clock.now() - begun > (isTime ? CLAIM_MS : WAIT_POSITION_MS)) return;
    await sleep(clock, LOOK_MS);
  }
}
