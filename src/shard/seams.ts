/**
 * The shard runtime's dependencies: a log on disk, a transport to peers, a state machine. `log-store/`, `transport/`
 * and
 * `replica/` implement these; none of them imports another.
 */
import type { LogIndex, PeerId, ShardId } from "../base/ids.ts";
import type { RecordedEpoch } from "./epochs.ts";
import type { Configuration, Entry, HardState, MemberId, SnapshotMetadata } from "../raft/model/types.ts";

export type { PeerId, ShardId } from "../base/ids.ts";

// ------------------------------------------------------------------------------------------------- log store

/** The peer of a member id; recorded with the configuration so that every group knows the addressee. */
export interface MemberInfo {
  readonly id: MemberId;
  readonly peerId: PeerId;
  readonly name: string;
  /** A small number, unique among the members; absent in configurations of older builds (see `slots.ts`). */
  readonly slot?: number;
  /** The nonce of the join that admitted the member; absent in configurations of older builds. */
  readonly admission?: string;
  /** A learner by choice, that does not ask for a vote; absent: it asks for one. */
  readonly role?: "learner";
  /** The learner is a reader: its file refuses the writes of its applications. */
  readonly reader?: true;
}

/** A group's configuration as of the entry at `index`, and its members. */
export interface GroupConfiguration {
  readonly index: LogIndex;
  readonly configuration: Configuration;
  readonly members: readonly MemberInfo[];
  /** In group 0: the newest epochs of the cluster, oldest first; absent: it was never recovered. */
  readonly epochs?: readonly RecordedEpoch[];
}

/**
 * All data that one turn writes for one group. Applied in this order: snapshot, entries, hardState, configuration.
 */
export interface GroupWrite {
  readonly shard: ShardId;
  /** Replaces the whole log of the group: afterwards firstIndex = index + 1, lastIndex = index. */
  readonly snapshot?: SnapshotMetadata;
  /** Consecutive. Everything from the index of the first one on is discarded before they are written. */
  readonly entries?: readonly Entry[];
  readonly hardState?: HardState;
  /** Appended to the group's history of configurations. */
  readonly configuration?: GroupConfiguration;
}

/** Reading side of one group's log. Indexes below `firstIndex` are compacted; the term of `firstIndex − 1` is kept. */
export interface GroupLog {
  readonly hardState: HardState;
  /** Index of the first entry that can be read; 1 + the compacted index. */
  firstIndex(): LogIndex;
  /** `firstIndex() − 1` when there are no entries. */
  lastIndex(): LogIndex;
  /** Term of the entry at `index`, for firstIndex − 1 ≤ index ≤ lastIndex; throws `RangeError` outside. */
  term(index: LogIndex): number;
  /** Entries in [from, to), at least one if there is one, then as many as fit in `maxBytes` of data. */
  entries(from: LogIndex, to: LogIndex, maxBytes: number): Entry[];
}

/** The Raft logs of all groups in one place. All methods are synchronous; a write is on disk when `write` returns. */
export interface LogStore {
  group(shard: ShardId): GroupLog;
  /** One durable transaction for all groups (`synchronous=FULL`). An I/O error is fatal: it is thrown and never retried. */
  write(writes: readonly GroupWrite[]): void;
  /**
   * The configuration in force at `index`: the newest in the history whose index is ≤ `index`. Before the first entry of an
   * epoch: that of this entry, since configurations of earlier epochs count no more.
   */
  configurationAt(shard: ShardId, index: LogIndex): GroupConfiguration | undefined;
  /** The newest configuration. */
  configuration(shard: ShardId): GroupConfiguration | undefined;
  /** Drops entries up to `index`, keeping the term of the last one. Not synced: losing it costs only space. */
  compact(shard: ShardId, index: LogIndex): void;
  /** Housekeeping on idle ticks (checkpoint). */
  idle(): void;
  /** Bytes on disk, log and WAL. */
  size(): number;
  close(): void;
}

// ------------------------------------------------------------------------------------------------- transport

/** A node's self-description when a stream opens. Opaque to the transport except for its size (≤ 16 KiB). */
export interface PeerHello {
  readonly peerId: PeerId;
  /** The bytes that the other side's `hello()` gave. */
  readonly hello: Uint8Array;
  /** Milliseconds since a frame came over another open link of the same peer; null: there is none. */
  readonly otherLinkSilentMs: number | null;
}

/** `urgent` messages (heartbeats, votes, acknowledgements, control) never wait behind `bulk` ones (entries). */
export type Lane = "urgent" | "bulk";

export interface TransportHandlers {
  /** Called per new stream; both sides send it first. */
  hello(): Uint8Array;
  /** Checks a peer's hello. A string refuses it: the stream is closed and the reason shown to that peer. */
  admit(peer: PeerHello): string | null;
  /** Whether addresses of this peer may be learned. Absent: of all. */
  knows?(peerId: PeerId): boolean;
  onConnect(peer: PeerHello): void;
  onDisconnect(peerId: PeerId): void;
  /** One whole message. The bytes belong to the handler. Throwing closes the stream to that peer. */
  onMessage(peerId: PeerId, message: Uint8Array): void;
  /** A peer asks for a bulk transfer; yield the chunks (≤ 64 KiB each is best). Errors abort the transfer. */
  onTransfer(peerId: PeerId, request: Uint8Array): AsyncIterable<Uint8Array>;
}

export interface PeerTraffic {
  readonly sent: number;
  readonly received: number;
}

export interface AddressProblem {
  readonly address: string;
  readonly reason: string;
}

export interface Transport {
  readonly peerId: PeerId;
  /** Full listen multiaddrs with /p2p/, after `start`. */
  addresses(): string[];
  /** The addresses that peers are told, without /p2p/. */
  announced(): string[];
  start(handlers: TransportHandlers): Promise<void>;
  stop(): Promise<void>;
  /**
   * Queues a message (≤ 1 GiB) to a connected peer; messages of one turn leave in few writes. False: not connected,
   * or the
   * peer's queue (bounded in bytes) is full. The message is then dropped, and Raft repeats it.
   */
  send(to: PeerId, message: Uint8Array, lane: Lane): boolean;
  /** Whether a message of that size would be queued now. Absent: unknown. */
  hasRoom?(to: PeerId, bytes: number): boolean;
  connected(): PeerId[];
  /** The peer said that it is busy: for so many milliseconds its link is kept although nothing arrives. Absent: links are kept. */
  expectSilence?(peer: PeerId, ms: number): void;
  /** Yields a bulk transfer's chunks in order. Rejects when the peer refuses, aborts or stalls. */
  transfer(from: PeerId, request: Uint8Array, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Adds addresses to dial until the transport stops (with or without /p2p/). An address that worked is never
   * dropped.
   */
  addAddresses(multiaddrs: readonly string[]): void;
  /** Milliseconds that a ping to the peer and back took; null: not measured. Absent: it is never measured. */
  roundTripMs?(peer: PeerId): number | null;
  /** Bytes of the messages since the start. Absent: they are not counted. */
  traffic?(peer: PeerId): PeerTraffic;
  /** Known addresses of a peer. */
  addressesOf(peerId: PeerId): string[];
  /** Given addresses that do not lead to a peer, and why, as a few words each. */
  problems(): AddressProblem[];
}
