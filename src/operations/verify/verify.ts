/**
 * `marmot verify`: a check entry in the log makes each node record its checksums at one position. The checksums are compared,
 * and each node compares its file with its replica row by row. `deep` also fetches the replicas of the peers and compares
 * their rows. Rows of this node's file that no trigger saw are published or repaired on request.
 */
import { randomBytes } from "node:crypto";
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { isSameName } from "../../base/names.ts";
import type { Control } from "../../replication/messages/control-messages.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import type { VerifyDifference, VerifyResult } from "../api.ts";
import { noteBatch } from "../settle-conflicts.ts";
import { compareFile, damageOf, differenceOf } from "./compare-file.ts";
import { comparePeer } from "./compare-peer.ts";
import { comparePeerFiles } from "./peer-files.ts";
import { settleFile } from "./settle-file.ts";

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

export interface VerifyOptions {
  /** Compares the rows of the replicas, too, not only their checksums. */
  readonly deep: boolean;
  /** Makes this node's file equal to its replica. Discarded rows go to the conflict journal. */
  readonly repair: boolean;
  /** Orders the rows of this node's file that no trigger saw. `table`: of one table; null: of all. */
  readonly publish: { readonly table: string | null } | null;
  /** Limit for the answers of the other nodes. */
  readonly timeoutMs: number;
}

export async function verify(components: VerifyComponents, options: VerifyOptions): Promise<VerifyResult> {
  const { replicator, clock } = components;
  const end = clock.now() + options.timeoutMs;
  const [waiting] = replicator.replica.replica.completion.tables.values();
  if (waiting !== undefined)
    throw new UserError(`this node's replica lacks the rows of a table: ${waiting.reason}`, waiting.hint);
  const { name } = replicator.options;
  const table = tableNamed(replicator, options.publish?.table ?? null);
  const { own, answers, missing } = await collectSums(components, end);
  const differences: VerifyDifference[] = [];
  for (const [peer, sums] of answers) {
    const found = compareSums(replicator, own, sums, replicator.peers.nameOf(peer));
    differences.push(...found);
    replicator.peers.agreement.set(peer, found.length === 0);
  }
  const peers = [...answers.keys()];
  const [file, files] = await Promise.all([
    compareFile({ replicator, clock }),
    comparePeerFiles(
      components,
      peers.filter((peer) => replicator.peers.oldRelease(peer) === null),
      end,
    ),
  ]);
  const notCompared = new Map(missing.map((node) => [node, "no answer"]));
  for (const peer of peers) {
    const node = replicator.peers.nameOf(peer);
    const check = files.get(peer);
    if (check?.state !== "compared")
      notCompared.set(node, check === undefined ? noAnswer(replicator, peer) : check.reason);
    differences.push(...(check?.differences ?? []).map((d) => ({ kind: "file" as const, node, ...d })));
  }
  differences.push(...file.damages.map((damage) => damageOf(name, damage)));
  let rows = file.rows;
  const report = (difference: VerifyDifference): boolean => differences.push(difference) < DIFFERENCES_SHOWN;
  if (options.deep) for (const peer of peers) rows += await comparePeer(components, peer, report);
  const settled = await settleFile({ replicator, clock }, file.found, { ...options, table });
  const left = differences.length + settled.left.length;
  const lines = [...settled.left.map((row) => differenceOf(name, row)), ...differences, ...settled.done];
  return {
    equal: left === 0,
    complete: votersAmong(replicator, notCompared).length === 0,
    positions: own.map((s) => s?.index ?? 0),
    nodes: [name, ...peers.map((p) => replicator.peers.nameOf(p))],
    missing: [...notCompared.keys()],
    notCompared: [...notCompared].map(([node, reason]) => ({ node, reason })),
    rows,
    published: settled.published,
    repaired: settled.repaired,
    differences: lines.slice(0, DIFFERENCES_SHOWN),
  };
}

function noAnswer({ peers }: Replicator, peer: PeerId): string {
  const version = peers.oldRelease(peer);
  return version === null
    ? "no answer about its file"
    : `it runs marmot ${version}, which does not compare its file`;
}

function tableNamed(replicator: Replicator, name: string | null): number | null {
  if (name === null) return null;
  const shapes = [...replicator.replica.replica.shapes.values()];
  const shape = shapes.find((s) => isSameName(s.name, name));
  if (shape === undefined)
    throw new UserError(
      `no table ${name} replicates`,
      `name one of ${shapes.map((s) => s.name).join(", ")}, or none for all`,
    );
  return shape.id;
}

const votersAmong = ({ runtime }: Replicator, nodes: ReadonlyMap<string, string>): string[] =>
  runtime.groups[0]!.configuration.members.flatMap(({ name, peerId }) =>
    nodes.has(name) && runtime.isVoter(peerId) ? [name] : [],
  );

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
  replicator.messages.onSums = (from, control) => {
    if (control.note === note) answers.set(from, control.shards);
  };
  let proposedAt = Number.NEGATIVE_INFINITY;
  let askedAt = Number.NEGATIVE_INFINITY;
  try {
    for (;;) {
      const own = replicator.messages.checks(note);
      const now = clock.now();
      const open = own.flatMap((s, shard) => (s === null ? [shard] : []));
      if (open.length > 0 && now - proposedAt > PROPOSE_AGAIN_MS) {
        proposedAt = now;
        for (const shard of open)
          replicator.runtime.propose(shard, noteBatch(replicator.options.peerId, note, clock.wallTime()));
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
        replicator.peers.tellAll({ kind: "sums?", note });
      }
      await sleep(clock, LOOK_MS);
    }
  } finally {
    replicator.messages.onSums = null;
  }
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
