/** The status that a node reports of itself and its cluster. */
import type { Clock } from "../base/clock.ts";
import type { Halt } from "../base/halt.ts";
import type { PeerId } from "../base/ids.ts";
import { isSameName } from "../base/names.ts";
import { showPerTable } from "../change/per-table.ts";
import type { Transport } from "../shard/seams.ts";
import type { MemberStatus, NodeStatus, ProgressStatus, ShardStatus } from "./api.ts";
import type { Replicator } from "../replication/replicator.ts";
import { ownVersion, showVersion } from "../sqlite/sqlite-version.ts";
import { walResetNote } from "../sqlite/writer-version.ts";
import { VERSION } from "../base/version.ts";

export interface StatusSource {
  readonly name: string;
  readonly peerId: PeerId;
  readonly replicator: Replicator | null;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly progress: ProgressStatus | null;
  readonly notReady: string | null;
  readonly keyFingerprint: string;
  readonly halt: Halt | null;
}

export function nodeStatus(source: StatusSource): NodeStatus {
  const { replicator, transport, name, peerId } = source;
  const settings = replicator?.replica.replica.settings;
  const held = replicator?.schema.held ?? [];
  return {
    node: {
      id: replicator?.log.member ?? 0,
      name: replicator?.runtime.groups[0]!.memberOf(peerId)?.name ?? name,
      peerId,
      addresses: transport.addresses(),
      version: VERSION,
      ready: source.notReady === null,
      state: source.halt?.name ?? (source.notReady === null ? "ready" : "waiting"),
      waitingFor: source.notReady ?? "",
    },
    cluster: {
      id: replicator?.clusterId ?? "",
      shards: settings?.shards ?? 0,
      transactions: settings?.transactions ?? "whole",
      schemaVersion: settings?.schemaVersion ?? 0,
      merge: settings === undefined ? "" : showPerTable(settings.merge),
      foreignKeys: settings?.foreignKeys ?? "keep",
      idBlock: settings === undefined ? "" : showPerTable(settings.idBlock),
      keyFingerprint: source.keyFingerprint,
    },
    members: replicator === null ? [] : members(source, replicator),
    shards: replicator === null ? [] : shards(replicator),
    unreached: replicator?.peers.unreached() ?? [],
    pending: pending(replicator),
    sqlite: sqliteStatus(replicator),
    conflicts: {
      total: replicator?.replica.replica.journal.total ?? 0,
      open: replicator?.replica.replica.journal.open ?? 0,
      orphans: replicator?.replica.replica.danglingReferences.total ?? 0,
    },
    tables: {
      replicated:
        replicator === null
          ? []
          : [...replicator.replica.replica.shapes.values()].flatMap(({ name }) =>
              held.some((t) => isSameName(t.remembered, name)) ? [] : [name],
            ),
      skipped: [
        ...(settings?.skipped ?? []),
        ...(replicator?.schema.local ?? []).map(({ name, reason, hint }) => ({
          name,
          reason: `${reason}; it stays on this node (hint: ${hint})`,
        })),
        ...held.map((table) => ({ name: table.name, reason: heldReason(table, replicator) })),
        ...(replicator === null ? [] : failures(replicator)),
      ],
    },
    progress: source.progress,
  };
}

type HeldTable = Replicator["schema"]["held"][number];

function heldReason({ id, reason, hint, sends }: HeldTable, replicator: Replicator | null): string {
  const rows = replicator?.pipeline.session.holdBack.waiting().get(id) ?? 0;
  const waits = sends
    ? `its rows of other nodes wait (${rows} so far), with the transactions that wrote them; its own rows and all other tables go on`
    : "replication is paused on this node until this is fixed: local writes are queued, remote changes are not applied to the file";
  return `${reason}; ${waits} (hint: ${hint})`;
}

/** Tables of which a row of another node cannot be written, though others can. */
function failures({ pipeline, replica }: Replicator): { name: string; reason: string }[] {
  return [...pipeline.session.holdBack.failures].map(([id, message]) => ({
    name: replica.replica.shapes.get(id)?.name ?? `table ${id}`,
    reason: `a row of another node cannot be shown here: ${message}; it waits, and all other rows go on (hint: change the row on a node that has it, or drop the index or the generated column whose expression fails)`,
  }));
}

function sqliteStatus(replicator: Replicator | null): NodeStatus["sqlite"] {
  const version = replicator?.applicationVersion ?? null;
  const note = walResetNote(version);
  return {
    marmot: showVersion(ownVersion()),
    application: version === null ? null : showVersion(version),
    warning: note === null ? "" : `${note.message} (hint: ${note.hint})`,
  };
}

function pending(replicator: Replicator | null): NodeStatus["pending"] {
  if (replicator === null) return { changes: 0, bytes: 0, oldestMs: 0 };
  const { outbox } = replicator.pipeline;
  return {
    changes: replicator.pending.size,
    bytes: outbox.bytesInFlight,
    oldestMs: Math.round(outbox.oldestMs()),
  };
}

function members({ transport, peerId, clock }: StatusSource, replicator: Replicator): MemberStatus[] {
  const { members } = replicator.runtime.groups[0]!.configuration;
  const connected = new Set(transport.connected());
  const { replica } = replicator.replica;
  const commits = replicator.runtime.groups.map((g) => g.raft.commit);
  return members.map((m): MemberStatus => {
    const self = m.peerId === peerId;
    const news = replicator.peers.received.get(m.peerId);
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
      role: replicator.runtime.isVoter(m.peerId) ? "voter" : "learner",
      connected: self || connected.has(m.peerId),
      lagEntries: fresh ? lag : null,
      checksumAgrees: self ? true : (replicator.peers.agreement.get(m.peerId) ?? null),
      version: self ? VERSION : (news?.version ?? ""),
    };
  });
}

function shards(replicator: Replicator): ShardStatus[] {
  return replicator.runtime.groups.map((group): ShardStatus => {
    const { raft, shard } = group;
    const own = group.memberOf(replicator.options.peerId);
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
      leader: group.leaderPeer === "" ? "" : replicator.peers.nameOf(group.leaderPeer),
      term: raft.term,
      commitIndex: raft.commit,
      appliedIndex: replicator.replica.replica.position(shard),
      pendingChanges: replicator.pipeline.outbox.rowsInShard(shard),
    };
  });
}
