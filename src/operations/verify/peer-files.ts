/** Asks the peers to compare their files with their replicas, and waits while they do it. */
import { randomBytes } from "node:crypto";
import { type Clock, sleep } from "../../base/clock.ts";
import type { FileCheck } from "../../replication/messages/control-messages.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";

const LOOK_MS = 20;
/** Milliseconds between two requests for the state of a comparison. */
const ASK_MS = 200;
/** A peer that compares is waited for as long as it answers at least this often. */
const SILENT_MS = 10_000;

export interface PeerFilesComponents {
  readonly replicator: Replicator;
  readonly transport: Transport;
  readonly clock: Clock;
}

/** The finished comparisons. Peers that did not answer until `end`, or fell silent, are left out. */
export async function comparePeerFiles(
  { replicator, transport, clock }: PeerFilesComponents,
  peers: readonly PeerId[],
  end: number,
): Promise<Map<PeerId, FileCheck>> {
  const note = randomBytes(8).toString("hex");
  const checks = new Map<PeerId, FileCheck>();
  const heardAt = new Map<PeerId, number>();
  replicator.messages.onFile = (from, control) => {
    if (control.note !== note) return;
    heardAt.set(from, clock.now());
    checks.set(from, control);
  };
  const isDone = (peer: PeerId): boolean => (checks.get(peer)?.state ?? "comparing") !== "comparing";
  const isLate = (peer: PeerId): boolean => {
    const silentSince = heardAt.get(peer);
    return clock.now() >= (silentSince === undefined ? end : silentSince + SILENT_MS);
  };
  let askedAt = Number.NEGATIVE_INFINITY;
  try {
    for (;;) {
      const connected = new Set(transport.connected());
      const waiting = peers.filter((p) => !isDone(p) && !isLate(p) && connected.has(p));
      if (waiting.length === 0) break;
      if (clock.now() - askedAt >= ASK_MS) {
        askedAt = clock.now();
        replicator.peers.tellAll({ kind: "file?", note });
      }
      await sleep(clock, LOOK_MS);
    }
  } finally {
    replicator.messages.onFile = null;
  }
  for (const peer of [...checks.keys()]) if (!isDone(peer)) checks.delete(peer);
  return checks;
}
