/** Halts a node that must not replicate: its files are closed, it stays up, and status, log and `wait` give the reason. */
import type { Clock } from "../../base/clock.ts";
import { type Halt, haltSentence } from "../../base/halt.ts";
import type { PeerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { MessageRouter, Stage } from "../../replication/messages/message-router.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { NodePlace } from "../../base/text/commands.ts";
import { haltedStage, haltOf } from "./refused.ts";
import { type Superseded, supersededStage } from "./superseded.ts";

/** Without a refusal for this time, a node that ran twice goes on. */
const RESUME_MS = 5000;

export interface HaltingComponents {
  readonly place: NodePlace;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly router: MessageRouter;
  readonly setPhase: (phase: string) => void;
  /** Takes the open replicator from the node; null: there is none. The caller closes it. */
  readonly take: () => Replicator | null;
  /** The cluster of this node, and the later epochs that it has met. */
  readonly superseded: () => Superseded;
  /** The node is halted by a later epoch: a learner may follow. Returns the receiver of the answers. */
  readonly follow: (superseded: Superseded) => Stage["onControl"];
  /** Ends all connections: nothing but a new start helps. */
  readonly disconnect: () => void;
  /** Opens the files again. */
  readonly resume: () => void;
}

interface Halted {
  readonly halt: Halt;
  /** Members whose refusals count. */
  readonly members: readonly PeerId[];
}

export class Halting {
  readonly #components: HaltingComponents;
  #halted: Halted | null = null;

  constructor(components: HaltingComponents) {
    this.#components = components;
  }

  /** null: the node replicates, or is about to. */
  get halted(): Halt | null {
    return this.#halted?.halt ?? null;
  }

  /** A peer refuses this node. Only members of its cluster can halt it. */
  onRefused(peer: PeerId, reason: string, replicator: Replicator | null): void {
    const { place, setPhase } = this.#components;
    if (replicator === null) {
      if (this.#halted === null) setPhase(`${peer} refuses this node: ${reason}`);
      else this.#refusedAgain(peer, reason, this.#halted);
      return;
    }
    const isFormer = replicator.epochs.isFormer(peer);
    if (!isFormer && replicator.runtime.groups.every((group) => group.memberOf(peer) === undefined)) return;
    const halt = haltOf(reason, replicator.peers.nameOf(peer), place);
    if (halt !== null) this.halt(halt);
  }

  /** The caller removed the cause. */
  end(): void {
    this.#halted = null;
  }

  halt(halt: Halt): void {
    const { logger, setPhase, take, disconnect, router } = this.#components;
    const { name, reason, hint } = halt;
    logger.event("halt", `${name}: ${reason}`, { halt: name, hint }, "error");
    const replicator = take();
    const members = replicator?.runtime.groups[0]!.configuration.members.map((m) => m.peerId);
    this.#halted = { halt, members: members ?? this.#halted?.members ?? [] };
    setPhase(haltSentence(halt));
    const life = replicator?.messages.life() ?? null;
    replicator?.close();
    if (name === "superseded") {
      const superseded = this.#components.superseded();
      return router.enter(supersededStage(superseded, this.#components.follow(superseded)));
    }
    const isTwice = name === "twice";
    const onConnect = isTwice ? (): void => this.#resumeLater() : (): void => {};
    // A hello may still arrive: the closed files are not asked any more.
    router.enter(haltedStage(replicator?.clusterId ?? "", life, onConnect));
    if (!isTwice) disconnect();
  }

  /** A member accepts this node now: it goes on if no member refuses it for a while. */
  #resumeLater(): void {
    const { clock, logger, resume } = this.#components;
    const halted = this.#halted;
    clock.after(RESUME_MS, () => {
      if (halted === null || this.#halted !== halted) return;
      this.#halted = null;
      logger.event("halt", "no other process has the identity of this node any more; going on");
      resume();
    });
  }

  #refusedAgain(peer: PeerId, reason: string, halted: Halted): void {
    if (halted.halt.name === "superseded" || !halted.members.includes(peer)) return;
    const { router, place } = this.#components;
    const halt = haltOf(reason, router.hellos.get(peer)?.name ?? peer, place);
    // A new object: what waits for the end of the last refusals gives up.
    if (halt === null || halt.name === halted.halt.name) this.#halted = { ...halted };
    else this.halt(halt);
  }
}
