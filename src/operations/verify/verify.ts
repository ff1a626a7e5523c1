/**
 * `marmot verify`: a check entry in the log makes each node record its checksums at one position. The checksums are compared,
 * and this node's file is compared with its replica row by row. `deep` also fetches the replicas of the peers and compares
 * their rows.
 */
import { randomBytes } from "node:crypto";
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { BatchKind } from "../../change/batch.ts";
import { encodeBatch } from "../../change/codec.ts";
import type { Control } from "../../replication/control-messages.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import type { VerifyDifference, VerifyResult } from "../api.ts";
import { compareFile } from "./compare-file.ts";
import { comparePeer } from "./compare-peer.ts";

const LOOK_MS = 20;
/** Milliseconds between two requests for the checksums of the peers. */
const ASK_MS = 100;
/** Milliseconds after which a check entry that did not arrive is proposed again. */
const PROPOSE_AGAIN_MS = 2000;
const DIFFERENCES_SHOWN = 1000;

type Sums = Extract<Control, { kind: "sums" }>["shards"];

export interface VerifyComponents {
  readonly replicator: Replicator;
  readonly transport: Transport;
  readonly clock: Clock;
}

export async function verify(
  components: VerifyComponents,
  options: { readonly deep: boolean; readonly repair: boolean; readonly timeoutMs: number },
): Promise<VerifyResult> {
  const { replicator, clock } = components;
  const end = clock.now() + options.timeoutMs;
  const differences: VerifyDifference[] = [];
  const { own, answers, missing } = await collectSums(components, end);
  for (const [peer, sums] of answers) {
    const found = compareSums(replicator, own, sums, replicator.nameOf(peer));
    differences.push(...found);
    replicator.agreement.set(peer, found.length === 0);
  }
  const report = (difference: VerifyDifference): boolean => differences.push(difference) < DIFFERENCES_SHOWN;
  let rows = await compareFile({ replicator, clock, repair: options.repair }, report);
  if (options.deep) for (const peer of answers.keys()) rows += await comparePeer(components, peer, report);
  return {
    equal: differences.length === 0,
    positions: own.map((s) => s?.index ?? 0),
    nodes: [replicator.options.name, ...[...answers.keys()].map((p) => replicator.nameOf(p))],
    missing,
    rows,
    differences: differences.slice(0, DIFFERENCES_SHOWN),
  };
}

/** Proposes a check entry and waits until each connected member has recorded its checksums at the same position. */
async function collectSums(
  { replicator, transport, clock }: VerifyComponents,
  end: number,
): Promise<{ own: Sums; answers: Map<PeerId, Sums>; missing: string[] }> {
  const note = randomBytes(8).toString("hex");
  const answers = new Map<PeerId, Sums>();
  const others = replicator.runtime.groups[0]!.configuration.members.filter(
    (m) => m.peerId !== replicator.options.peerId,
  );
  replicator.onSums = (from, control) => {
    if (control.note === note) answers.set(from, control.shards);
  };
  let proposedAt = Number.NEGATIVE_INFINITY;
  let askedAt = Number.NEGATIVE_INFINITY;
  try {
    for (;;) {
      const own = replicator.checks(note);
      const now = clock.now();
      const open = own.flatMap((s, shard) => (s === null ? [shard] : []));
      if (open.length > 0 && now - proposedAt > PROPOSE_AGAIN_MS) {
        proposedAt = now;
        for (const shard of open) replicator.runtime.propose(shard, checkBatch(replicator, note, clock));
        replicator.loop.wake();
      }
      const agreed = (peer: PeerId): boolean =>
        answers.get(peer)?.every((s, shard) => s !== null && s.index === own[shard]?.index) ?? false;
      const connected = new Set(transport.connected());
      const late = others.filter((m) => connected.has(m.peerId) && !agreed(m.peerId));
      if ((open.length === 0 && late.length === 0) || now >= end) {
        for (const m of others) if (!agreed(m.peerId)) answers.delete(m.peerId);
        if (open.length > 0)
          throw new UserError(
            `no quorum ordered the check entry in shard ${open.join(", ")} in time`,
            "run marmot status: a majority of the voters must be connected",
          );
        const missing = others.filter((m) => !agreed(m.peerId)).map((m) => m.name);
        return { own, answers, missing };
      }
      if (open.length === 0 && now - askedAt > ASK_MS) {
        askedAt = now;
        replicator.tellAll({ kind: "sums?", note });
      }
      await sleep(clock, LOOK_MS);
    }
  } finally {
    replicator.onSums = null;
  }
}

function checkBatch(replicator: Replicator, note: string, clock: Clock): Uint8Array {
  return encodeBatch({
    kind: BatchKind.check,
    origin: replicator.options.peerId,
    incarnation: 0,
    csn: 0,
    part: 1,
    parts: 1,
    previousCsn: 0,
    schemaVersion: 0,
    bases: [],
    after: [],
    watermarks: [],
    time: clock.wallTime(),
    note,
    tables: [],
  });
}

/** The tables whose checksums differ between this node and the node called `node`. */
function compareSums(replicator: Replicator, own: Sums, theirs: Sums, node: string): VerifyDifference[] {
  return own.flatMap((mine, shard) => {
    const sums = new Map(theirs[shard]?.sums ?? []);
    const tables = new Set([...(mine?.sums ?? []).map(([t]) => t), ...sums.keys()]);
    return [...tables].flatMap((table): VerifyDifference[] => {
      const left = mine?.sums.find(([t]) => t === table)?.[1] ?? "0";
      const right = sums.get(table) ?? "0";
      if (left === right) return [];
      const name = replicator.replica.replica.shapes.get(table)?.name ?? `table ${table}`;
      const detail = `checksum ${right} in shard ${shard}, here ${left}`;
      return [{ kind: "replica", node, table: name, key: "", detail }];
    });
  });
}
