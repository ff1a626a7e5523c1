/**
 * Notices that nothing but heartbeats comes and goes. A quiet leader beats half as often, and the owner of time may let
 * several ticks pass at once: an idle node does little else.
 */
import { type Message, MessageType } from "../../raft/model/types.ts";

/** Ticks between two heartbeats of a leader. */
export const HEARTBEAT_TICKS = 2;
export const QUIET_HEARTBEAT_TICKS = 4;
/** Ticks without a message or write besides heartbeats after which a node is quiet. */
const QUIET_AFTER_TICKS = 20;
/** Ticks of silence of a leader after which a node is not quiet: an election may be near. */
const SILENT_TICKS = 7;

interface Watched {
  readonly raft: { readonly leader: number; readonly silentTicks: number };
}

export class Quiet {
  readonly #groups: readonly Watched[];
  #ticks = 0;
  #activeAt = 0;

  constructor(groups: readonly Watched[]) {
    this.#groups = groups;
  }

  get isQuiet(): boolean {
    return (
      this.#ticks - this.#activeAt >= QUIET_AFTER_TICKS &&
      this.#groups.every(({ raft }) => raft.leader !== 0 && raft.silentTicks < SILENT_TICKS)
    );
  }

  /** Returns whether leaders beat with this tick: those of all groups together, so that a peer gets one frame. */
  tick(): boolean {
    const isBeat = this.#ticks % (this.isQuiet ? QUIET_HEARTBEAT_TICKS : HEARTBEAT_TICKS) === 0;
    this.#ticks++;
    return isBeat;
  }

  /** Something was written. */
  active(): void {
    this.#activeAt = this.#ticks;
  }

  /** A message came, or goes. */
  note({ type }: Message): void {
    if (type !== MessageType.heartbeat && type !== MessageType.heartbeatResponse) this.active();
  }
}
