/** The work that a turn of the state machine gives to its owner. */
import type { LogIndex } from "../../base/ids.ts";
import type { Entry, HardState, Message, SnapshotMetadata } from "./types.ts";

/** The outcome of a read by index. */
export interface ReadState {
  /** The caller's context. */
  readonly context: Uint8Array;
  /**
   * A state that contains the entry at `index` contains every write that was acknowledged before the call. Null: the
   * leader was lost, or did not answer for an election timeout; nothing was read, and to ask again is harmless.
   */
  readonly index: LogIndex | null;
}

/**
 * The owner's order: send `messages`; in one durable write put `snapshot`, `entries` and `hardState` on disk; send
 * `messagesAfterPersist`; apply `committed`; call `advance`. All lists belong to the owner, their contents never
 * change.
 */
export interface Ready {
  /** Null: unchanged since the last ready. */
  readonly hardState: HardState | null;
  /** To persist, after everything from the index of the first one on is discarded. */
  readonly entries: readonly Entry[];
  /** Replaces the log, in the same transaction as `entries` and before them. */
  readonly snapshot: SnapshotMetadata | null;
  /** To apply, in order. All are on disk once `entries` are. */
  readonly committed: readonly Entry[];
  /** May leave at once: they promise nothing that is not on disk. */
  readonly messages: readonly Message[];
  /** Votes, requests for votes and acknowledgements: leave only when everything above is synced. */
  readonly messagesAfterPersist: readonly Message[];
  /** Reads by index that ended. A read may be served once the state has applied its index. */
  readonly readStates: readonly ReadState[];
  /**
   * False: only the commit index changed, and losing that in a crash is harmless. It is not harmless while `entries`
   * of this or
   * a later ready survive: a member with an entry after a committed change must remember that the change is
   * committed.
   * Otherwise it could campaign, and win, in a configuration that is two changes old.
   */
  readonly mustSync: boolean;
}
