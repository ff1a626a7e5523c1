/** What a node says of itself and its cluster. */
import { asPeerId, type PeerId } from "../base/ids.ts";
import type { Clock } from "../base/clock.ts";
import { isSameName } from "../base/names.ts";
import { decodeImage } from "../change/codec.ts";
import { showPerTable } from "../change/per-table.ts";
import type { Image, Value } from "../change/value.ts";
import { TextBytes } from "../change/value.ts";
import type { StoredConflict } from "../replica/conflicts/journal.ts";
import type { Transport } from "../shard/seams.ts";
import type {
  ConflictDetail,
  ConflictSummary,
  MemberStatus,
  Metric,
  NodeStatus,
  ProgressStatus,
  ShardStatus,
  ShownValue,
} from "./api.ts";
import type { Member } from "../replication/replicator.ts";
import type { HeldTable } from "../schema-sync/detect-change.ts";
import { showKey } from "./verify/verify.ts";
import { VERSION } from "../base/version.ts";

export interface StatusSource {
  readonly name: string;
  readonly peerId: PeerId;
  readonly member: Member | null;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly progress: ProgressStatus | null;
  readonly notReady: string | null;
}

export function nodeStatus(source: StatusSource): NodeStatus {
  const { member, transport, name, peerId } = source;
  const settings = member?.replica.replica.settings;
  const held = member?.schema.held ?? [];
  return {
    node: {
      id: member?.runtime.groups[0]!.memberOf(peerId)?.id ?? 0,
      name,
      peerId,
      addresses: transport.addresses(),
      version: VERSION,
      ready: source.notReady === null,
      waitingFor: source.notReady ?? "",
    },
    cluster: {
      id: member?.clusterId ?? "",
      shards: settings?.shards ?? 0,
      transactions: settings?.transactions ?? "whole",
      schemaVersion: settings?.schemaVersion ?? 0,
      merge: settings === undefined ? "" : showPerTable(settings.merge),
      foreignKeys: settings?.foreignKeys ?? "keep",
      idBlock: settings === undefined ? "" : showPerTable(settings.idBlock),
    },
    members: member === null ? [] : members(source, member),
    shards: member === null ? [] : shards(member),
    pending: pending(member),
    conflicts: {
      total: member?.replica.replica.journal.total ?? 0,
      orphans: member?.replica.replica.danglingReferences.total ?? 0,
    },
    tables: {
      replicated:
        member === null
          ? []
          : [...member.replica.replica.shapes.values()].flatMap(({ name }) =>
              held.some((t) => isSameName(t.remembered, name)) ? [] : [name],
            ),
      skipped: [
        ...(settings?.skipped ?? []),
        ...(member?.schema.local ?? []).map(({ name, reason, hint }) => ({
          name,
          reason: `${reason}; it stays on this node (hint: ${hint})`,
        })),
        ...held.map((table) => ({ name: table.name, reason: heldReason(table, member) })),
        ...(member === null ? [] : failures(member)),
      ],
    },
    progress: source.progress,
  };
}

function heldReason({ id, reason, hint, sends }: HeldTable, member: Member | null): string {
  const rows = member?.pipeline.session.reflector.waiting().get(id) ?? 0;
  const waits = sends
    ? `its rows of other nodes wait (${rows} so far), with the transactions that wrote them; its own rows and all other tables go on`
    : "until that is fixed this node sends and shows nothing, and its own writes wait";
  return `${reason}; ${waits} (hint: ${hint})`;
}

/** Tables of which a row of another node cannot be written, though others can. */
function failures({ pipeline, replica }: Member): { name: string; reason: string }[] {
  return [...pipeline.session.reflector.failures].map(([id, message]) => ({
    name: replica.replica.shapes.get(id)?.name ?? `table ${id}`,
    reason: `a row of another node cannot be shown here: ${message}; it waits until it changes, and all other rows go on (hint: the expression of an index or a generated column fails for it)`,
  }));
}

function pending(member: Member | null): NodeStatus["pending"] {
  if (member === null) return { changes: 0, bytes: 0, oldestMs: 0 };
  const { outbox } = member.pipeline;
  return {
    changes: member.pending.size,
    bytes: outbox.bytesInFlight,
    oldestMs: Math.round(outbox.oldestMs()),
  };
}

function members({ transport, peerId, clock }: StatusSource, member: Member): MemberStatus[] {
  const { members } = member.runtime.groups[0]!.configuration;
  const connected = new Set(transport.connected());
  const { replica } = member.replica;
  const commits = member.runtime.groups.map((g) => g.raft.commit);
  return members.map((m): MemberStatus => {
    const self = m.peerId === peerId;
    const news = member.news.get(m.peerId);
    const applied = self ? replica.positions() : news?.applied;
    const fresh = self || (news !== undefined && clock.now() - news.at < 5000);
    const lag =
      applied === undefined
        ? null
        : commits.reduce((sum, c, shard) => sum + Math.max(0, c - (applied[shard] ?? 0)), 0);
    return {
      peerId: m.peerId,
      name: m.name,
      addresses: self ? transport.addresses() : transport.addressesOf(m.peerId),
      role: member.runtime.isVoter(m.peerId) ? "voter" : "learner",
      connected: self || connected.has(m.peerId),
      lagEntries: fresh ? lag : null,
      checksumAgrees: self ? true : (member.agreement.get(m.peerId) ?? null),
      version: self ? VERSION : (news?.version ?? ""),
    };
  });
}

function shards(member: Member): ShardStatus[] {
  return member.runtime.groups.map((group): ShardStatus => {
    const { raft, shard } = group;
    const own = group.memberOf(member.options.peerId);
    const learner = own === undefined || group.configuration.configuration.learners.includes(own.id);
    const role = raft.isLeader
      ? "leader"
      : learner
        ? "learner"
        : raft.role === "follower"
          ? "follower"
          : "candidate";
    return {
      shard,
      role,
      leader: group.leaderPeer === "" ? "" : member.nameOf(group.leaderPeer),
      term: raft.term,
      commitIndex: raft.commit,
      appliedIndex: member.replica.replica.position(shard),
      pendingChanges: member.pipeline.outbox.rowsInShard(shard),
    };
  });
}

export function show(value: Value): ShownValue {
  if (value === null) return { type: "null", text: "" };
  if (typeof value === "bigint") return { type: "integer", text: value.toString() };
  if (typeof value === "number") return { type: "real", text: Object.is(value, -0) ? "-0.0" : String(value) };
  if (typeof value === "string") return { type: "text", text: value };
  if (value instanceof TextBytes) return { type: "text", text: Buffer.from(value.bytes).toString("hex") };
  return { type: "blob", text: Buffer.from(value).toString("hex") };
}

export const conflictId = (c: StoredConflict): string => `${c.shard}:${c.index}:${c.ordinal}`;

/** null: there is none of that id, or it is not kept any more. */
export function findConflict(member: Member, id: string): StoredConflict | null {
  const [shard, index, ordinal] = id.split(":").map(Number);
  if (![shard, index, ordinal].every(Number.isSafeInteger)) return null;
  return member.replica.replica.journal.get(shard!, index!, ordinal!);
}

export function conflictSummary(member: Member, conflict: StoredConflict): ConflictSummary {
  const { replica } = member.replica;
  const shape = replica.shapes.get(conflict.table);
  const nameOf = (hash: number): string => {
    const peer = replica.origins.peerOf(hash);
    return peer === "" ? "unknown" : member.nameOf(asPeerId(peer));
  };
  return {
    id: conflictId(conflict),
    shard: conflict.shard,
    index: conflict.index,
    table: conflict.note?.table ?? shape?.name ?? `table ${conflict.table}`,
    key: shape === undefined ? String(conflict.keyId) : showKey(shape, conflict.keyId),
    kind: conflict.kind,
    losingOrigin: nameOf(conflict.losingOrigin),
    winningOrigin: nameOf(conflict.winningOrigin),
    time: conflict.time,
  };
}

export function conflictDetail(member: Member, conflict: StoredConflict): ConflictDetail {
  const shape = member.replica.replica.shapes.get(conflict.table);
  const image = (bytes: Uint8Array | null): ShownValue[] | null =>
    bytes === null ? null : decodeImage(bytes).map((v: Image[number]) => show(v));
  return {
    ...conflictSummary(member, conflict),
    columns: conflict.note?.columns ?? shape?.columns.map((c) => c.name) ?? [],
    losingImage: image(conflict.losingImage),
    winningImage: image(conflict.winningImage),
  };
}

export function nodeMetrics(source: StatusSource): Metric[] {
  const status = nodeStatus(source);
  const { member } = source;
  const one = (name: string, help: string, value: number, type: Metric["type"] = "gauge"): Metric => ({
    name,
    help,
    type,
    samples: [{ value }],
  });
  const perShard = (name: string, help: string, of: (s: ShardStatus) => number): Metric => ({
    name,
    help,
    type: "gauge",
    samples: status.shards.map((s) => ({ labels: { shard: String(s.shard) }, value: of(s) })),
  });
  const counters = member?.pipeline.counters();
  return [
    one("ready", "1 when the node is ready", status.node.ready ? 1 : 0),
    one("members", "members of the cluster", status.members.length),
    one(
      "members_connected",
      "members connected to this node, itself included",
      status.members.filter((m) => m.connected).length,
    ),
    one("pending_changes", "changed rows that are not acknowledged", status.pending.changes),
    one("pending_bytes", "bytes proposed and not taken", status.pending.bytes),
    one(
      "pending_oldest_seconds",
      "age of the oldest change that is not acknowledged",
      status.pending.oldestMs / 1000,
    ),
    one("conflicts", "conflicts in the journal", status.conflicts.total),
    one("orphans", "references that concurrent writes left dangling", status.conflicts.orphans),
    perShard("term", "Raft term", (s) => s.term),
    perShard("commit_index", "Raft commit index", (s) => s.commitIndex),
    perShard("applied_index", "index that the replica contains", (s) => s.appliedIndex),
    perShard("leader", "1 on the leader", (s) => (s.role === "leader" ? 1 : 0)),
    one(
      "reflections_total",
      "transactions that showed the replica in the file",
      counters?.reflections ?? 0,
      "counter",
    ),
    one("drained_rows_total", "changed rows sent into the order", counters?.drainedRows ?? 0, "counter"),
    one(
      "log_transactions_total",
      "durable transactions of the Raft log",
      member?.log.transactions ?? 0,
      "counter",
    ),
    one("log_bytes", "size of the Raft log on disk", member?.log.size() ?? 0),
  ];
}
