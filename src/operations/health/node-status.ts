/** The status that a node reports of itself and its cluster. */
import type { Clock } from "../../base/clock.ts";
import type { Halt } from "../../base/halt.ts";
import type { PeerId } from "../../base/ids.ts";
import { isSameName } from "../../base/names.ts";
import { showPerTable } from "../../change/per-table.ts";
import type { Transport } from "../../shard/seams.ts";
import type {
  BackupStatus,
  MemberStatus,
  NodeStatus,
  ProgressStatus,
  ShardStatus,
  VerifiedStatus,
} from "../api.ts";
import { type StatusFacts, verdictOf } from "./verdict.ts";
import { votersInTouch } from "./voters.ts";
import type { Refusal } from "../../replication/messages/refusals.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { ownVersion, showVersion } from "../../sqlite/versions/sqlite-version.ts";
import { walResetNote } from "../../sqlite/versions/writer-version.ts";
import { VERSION } from "../../base/version.ts";

export interface StatusSource {
  readonly name: string;
  readonly peerId: PeerId;
  readonly replicator: Replicator | null;
  /** null: the node has not opened its files yet. */
  readonly transport: Transport | null;
  readonly clock: Clock;
  readonly progress: ProgressStatus | null;
  readonly notReady: string | null;
  /** Fingerprints of the cluster keys, and their file; "": they are in the environment. */
  readonly keys: { readonly fingerprints: readonly string[]; readonly file: string };
  readonly halt: Halt | null;
  readonly refusals: readonly Refusal[];
  /** Path of the application's file. */
  readonly file: string;
  readonly startedAt: number;
  readonly verified: Omit<VerifiedStatus, "agoMs"> | null;
  readonly backups: BackupStatus | null;
  readonly feed: NodeStatus["feed"];
  readonly archive: NodeStatus["archive"];
}

export function nodeStatus(source: StatusSource): NodeStatus {
  const facts = statusFacts(source);
  return { ...facts, verdict: verdictOf(facts) };
}

function statusFacts(source: StatusSource): StatusFacts {
  const { replicator, transport, name, peerId, clock, verified } = source;
  const settings = replicator?.replica.replica.settings;
  const held = replicator?.schema.held ?? [];
  const heldTables = [
    ...held.map((table) => ({ name: table.name, reason: heldReason(table, replicator) })),
    ...(replicator === null ? [] : failures(replicator)),
  ];
  return {
    node: {
      id: replicator?.log.member ?? 0,
      name: replicator?.runtime.groups[0]!.memberOf(peerId)?.name ?? name,
      file: source.file,
      peerId,
      addresses: transport?.addresses() ?? [],
      version: VERSION,
      ready: source.notReady === null,
      state: source.halt?.name ?? (source.notReady === null ? "ready" : "waiting"),
      waitingFor: source.notReady ?? "",
      keyFile: source.keys.file,
      uptimeMs: Math.round(clock.now() - source.startedAt),
    },
    quorum: quorum(source),
    cluster: {
      id: replicator?.clusterId ?? "",
      epoch: replicator?.epochs.own.at(-1)?.number ?? 0,
      shards: settings?.shards ?? 0,
      transactions: settings?.transactions ?? "whole",
      schemaVersion: settings?.schemaVersion ?? 0,
      merge: settings === undefined ? "" : showPerTable(settings.merge),
      foreignKeys: settings?.foreignKeys ?? "keep",
      idBlock: settings === undefined ? "" : showPerTable(settings.idBlock),
      keyFingerprint: source.keys.fingerprints[0] ?? "",
    },
    members: replicator === null ? [] : members(source, replicator),
    shards: replicator === null ? [] : shards(replicator),
    refusals: source.refusals.map(({ at, ...rest }) => ({
      ...rest,
      ageMs: Math.round(source.clock.now() - at),
    })),
    formats: replicator?.formats.held() ?? [],
    unreached: replicator?.peers.unreached() ?? [],
    pending: pending(replicator),
    sqlite: sqliteStatus(replicator),
    conflicts: {
      total: replicator?.replica.replica.journal.total ?? 0,
      open: replicator?.replica.replica.journal.open ?? 0,
      orphans: replicator?.replica.replica.danglingReferences.total ?? 0,
    },
    backups: source.backups,
    feed: source.feed,
    archive: source.archive,
    verified: verified === null ? null : { ...verified, agoMs: Math.max(0, clock.wallTime() - verified.at) },
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
        ...heldTables,
      ],
      held: heldTables,
    },
    progress: source.progress,
  };
}

type HeldTable = Replicator["schema"]["held"][number];

function heldReason({ id, reason, hint, sends }: HeldTable, replicator: Replicator | null): string {
  const rows = replicator?.pipeline.session.holdBack.waiting().get(id) ?? 0;
  const waits = sends
    ? `its rows of other nodes wait (${rows} so far), with the transactions that wrote them; its own rows and all other tables go on`
    : `its rows wait, in both directions (${rows} of other nodes so far), with the transactions that wrote them; all other tables go on`;
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
  const version = replicator?.application.version ?? null;
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

/** News of a peer that is older says nothing of the present. */
const FRESH_MS = 5000;

/** A connected member that tells nothing for this time is halted, frozen or cut off: it counts for no quorum. */
const SILENT_MS = 10_000;

function inTouchWith({ transport, clock }: StatusSource, replicator: Replicator): PeerId[] {
  return (transport?.connected() ?? []).filter((peer) => {
    const news = replicator.peers.received.get(peer);
    return news === undefined || clock.now() - news.at < SILENT_MS;
  });
}

function quorum(source: StatusSource): NodeStatus["quorum"] {
  const { replicator, peerId } = source;
  if (replicator === null) return { voters: 0, inTouch: 0, mayLose: 0 };
  const { voters, inTouch } = votersInTouch(replicator.runtime.groups[0]!.configuration, {
    peerId,
    connected: inTouchWith(source, replicator),
  });
  return { voters, inTouch, mayLose: Math.max(-1, inTouch - Math.floor(voters / 2) - 1) };
}

function members(source: StatusSource, replicator: Replicator): MemberStatus[] {
  const { transport, peerId, clock, keys } = source;
  const { members } = replicator.runtime.groups[0]!.configuration;
  const connected = new Set(inTouchWith(source, replicator));
  const { replica } = replicator.replica;
  return members.map((m): MemberStatus => {
    const self = m.peerId === peerId;
    const news = replicator.peers.received.get(m.peerId);
    const seenMs = self ? 0 : news === undefined ? null : Math.round(clock.now() - news.at);
    const isFresh = connected.has(m.peerId) && seenMs !== null && seenMs < FRESH_MS;
    const applied = self ? replica.positions() : news?.applied;
    // A silent peer goes on falling behind the entries that are committed without it.
    const lag = applied === undefined ? null : isFresh && !self ? news!.lag : replicator.peers.lagOf(applied);
    return {
      peerId: m.peerId,
      name: m.name,
      addresses: (self ? transport?.addresses() : transport?.addressesOf(m.peerId)) ?? [],
      role: replicator.runtime.isVoter(m.peerId) ? "voter" : m.reader === true ? "reader" : "learner",
      connected: self || connected.has(m.peerId),
      leads: replicator.runtime.groups.filter((g) => g.leaderPeer === m.peerId).map((g) => g.shard),
      lagEntries: lag?.entries ?? null,
      lagMs: lag === null ? null : Math.round(lag.ms),
      lastSeenMs: seenMs,
      roundTripMs: self ? null : (transport?.roundTripMs?.(m.peerId) ?? null),
      checksumAgrees: self ? true : (replicator.peers.agreement.get(m.peerId) ?? null),
      version: self ? VERSION : (news?.version ?? ""),
      keys: self ? keys.fingerprints : (news?.keys ?? []),
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
