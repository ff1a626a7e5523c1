/** The state of this node: for its own readiness, and as news for its peers. */
import { VERSION } from "../base/version.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import { extensions } from "../sqlite/functions/extensions.ts";
import type { EventLoop } from "./event-loop.ts";
import type { SyncedFile } from "./machine/host.ts";
import type { ApplicationSqlite } from "./machine/application-sqlite.ts";
import { MAX_KEYS, MAX_LIVES, type NodeNews } from "./messages/control-messages.ts";
import type { MemberChanges } from "./members/member-changes.ts";
import type { Role } from "./members/role.ts";
import type { PeerLives } from "./lives/peer-lives.ts";
import type { Pipeline } from "./pipeline/pipeline.ts";
import type { Readiness, ReadinessFacts } from "./readiness.ts";
import type { LogHolds } from "./snapshots/log-holds.ts";

/** Peers and addresses in one message. */
const TOLD_PEERS = 64;
const TOLD_ADDRESSES = 8;

export interface ReadinessParts {
  readonly runtime: ShardRuntime;
  readonly loop: EventLoop;
  readonly pipeline: Pipeline;
  readonly replica: OpenReplica;
  readonly appDbFile: SyncedFile;
  readonly members: Pick<MemberChanges, "awaitsVote">;
  readonly role: Role;
}

export function readinessFacts({
  runtime,
  loop,
  pipeline,
  replica,
  appDbFile,
  members,
  role,
}: ReadinessParts): ReadinessFacts {
  return {
    groups: runtime.groups,
    replica: replica.replica,
    fileChange: () => appDbFile.look(),
    isReceiving: () => loop.frozen,
    obstacle: () => pipeline.obstacle,
    held: () => pipeline.held,
    awaitsVote: () => members.awaitsVote(role),
    isSchemaDue: () => pipeline.schemaDue,
    fencing: () => pipeline.outbox.fencing(),
    hasAcknowledged: () => pipeline.session.cursors.waiting,
    unordered: (table, id) => pipeline.unordered(table, id),
    newestIds: () => pipeline.session.reader.newestIds(),
    reflected: () => pipeline.session.bases.reflected,
  };
}

/** Rows of other nodes that the file does not show, since this node cannot write their tables. */
export const waitingRows = (pipeline: Pipeline): number =>
  [...pipeline.session.holdBack.waiting().values()].reduce((sum, n) => sum + n, 0);

/** null: the peer is no member. */
export function isReaderIn(
  members: readonly { readonly peerId: PeerId; readonly reader?: true }[],
  peer: PeerId,
): boolean | null {
  const member = members.find((m) => m.peerId === peer);
  return member === undefined ? null : member.reader === true;
}

export interface NewsParts {
  readonly name: string;
  readonly runtime: ShardRuntime;
  readonly pipeline: Pipeline;
  readonly replica: OpenReplica;
  readonly readiness: Readiness;
  readonly transport: Transport;
  readonly holds: LogHolds;
  readonly lives: PeerLives;
  readonly application: ApplicationSqlite;
  readonly keys: readonly string[];
}

export function ownNews({
  name,
  pipeline,
  replica,
  readiness,
  transport,
  lives,
  application: { version: sqlite },
  keys,
  ...rest
}: NewsParts): NodeNews {
  return {
    name,
    version: VERSION,
    ready: readiness.notReady() === null,
    applied: replica.replica.positions(),
    reflected: [...readiness.reflected],
    functions: extensions().digest,
    waiting: waitingRows(pipeline),
    reaches: transport.connected().slice(0, TOLD_PEERS),
    addresses: transport.announced().slice(0, TOLD_ADDRESSES),
    keys: keys.slice(0, MAX_KEYS),
    leaders: rest.runtime.groups.map(({ raft }) => raft.leader),
    members: rest.runtime.groups[0]!.configuration.members.slice(0, MAX_LIVES).map((m) => [m.id, m.peerId]),
    ...(sqlite === null ? {} : { sqlite }),
    ...lowestHolds(rest),
    lives: lives.known(),
  };
}

function lowestHolds({ runtime, holds }: Pick<NewsParts, "runtime" | "holds">): {
  readonly holds?: number[];
} {
  if (holds.isEmpty) return {};
  return { holds: runtime.groups.map(({ shard, log }) => holds.lowest(shard) ?? log.lastIndex()) };
}
