/** Asks the node that began the newest epoch whether this learner may follow, until it answers. */
import { type Clock, nextTurn, sleep } from "../../base/clock.ts";
import type { PeerId } from "../../base/ids.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { type Control, encodeControl } from "../../replication/messages/control-messages.ts";
import type { Epoch } from "../../shard/epochs.ts";
import type { GroupConfiguration, Transport } from "../../shard/seams.ts";
import { followEpoch, followQuestion } from "./follow.ts";

const ASK_MS = 500;

type Follow = Extract<Control, { kind: "follow" }>;
type Followed = Extract<Control, { kind: "followed" }>;

export interface FollowingComponents {
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The node is still halted by this epoch. */
  readonly isHalted: () => boolean;
  /** This node is a member of the epoch: its files can be opened. */
  readonly onFollowed: (answer: Followed) => void;
  /** It stays halted. */
  readonly onRefused: (reason: string) => void;
}

export class Following {
  readonly #epoch: Epoch;
  readonly #components: FollowingComponents;
  #question: Follow | null = null;

  constructor(epoch: Epoch, components: FollowingComponents) {
    this.#epoch = epoch;
    this.#components = components;
  }

  /** Resolves when there is an answer, or nothing to ask. */
  async ask(): Promise<void> {
    const { paths, peerId, transport, clock, signal, isHalted } = this.#components;
    // Not in the turn that closed the files.
    await nextTurn();
    if (signal.aborted || !isHalted()) return;
    const question = followQuestion(paths, peerId);
    this.#question = question;
    while (this.#question !== null && !signal.aborted && isHalted()) {
      transport.send(this.#epoch.by, encodeControl(question!), "urgent");
      await sleep(clock, ASK_MS);
    }
  }

  onControl(from: PeerId, control: Control): void {
    const question = this.#question;
    if (from !== this.#epoch.by || question === null) return;
    if (control.kind === "followed") {
      this.#question = null;
      const configurations = control.configurations as readonly GroupConfiguration[];
      const isDone = followEpoch(question, configurations, { ...this.#components, epoch: this.#epoch.id });
      if (isDone) this.#components.onFollowed(control);
      else this.#components.onRefused("the newest epoch has no place for this node");
    } else if (control.kind === "refused") {
      this.#question = null;
      this.#components.onRefused(control.reason);
    }
  }
}
