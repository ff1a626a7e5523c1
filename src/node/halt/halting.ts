/** Halts a node that members of its cluster refuse, and lets it go on when they accept it again. */
import { type Halt, haltSentence } from "../../base/halt.ts";
import type { PeerId } from "../../base/ids.ts";
import type { NodeCore } from "../node-core.ts";
import { haltedStage, haltOf } from "./refused.ts";

/** Without a refusal for this time, a node that ran twice goes on. */
const RESUME_MS = 5000;

interface Halted {
  readonly halt: Halt;
  /** Members whose refusals count. */
  readonly members: readonly PeerId[];
}

export class Halting {
  readonly #core: NodeCore;
  readonly #resume: () => void;
  /** null: the node replicates, or is about to. */
  #halted: Halted | null = null;

  /** `resume`: opens the replicator again. */
  constructor(core: NodeCore, resume: () => void) {
    this.#core = core;
    this.#resume = resume;
  }

  /** null: no member refuses this node. */
  get halt(): Halt | null {
    return this.#halted?.halt ?? null;
  }

  /** Only members of this node's cluster can stop it. */
  onRefused(peer: PeerId, reason: string): void {
    const { replicator } = this.#core;
    if (replicator === null) {
      if (this.#halted === null) this.#core.phase = `${peer} refuses this node: ${reason}`;
      else this.#refusedAgain(peer, reason);
      return;
    }
    if (replicator.runtime.groups.every((group) => group.memberOf(peer) === undefined)) return;
    const halt = haltOf(reason, replicator.peers.nameOf(peer), this.#core.options.db);
    if (halt !== null) this.begin(halt);
  }

  /** Closes all files and stays up: status, log and `wait` give the reason. */
  begin(halt: Halt): void {
    const core = this.#core;
    const { name, reason, hint } = halt;
    core.components.logger.error(`${name}: ${reason}`, { hint });
    const { replicator } = core;
    const members = replicator?.runtime.groups[0]!.configuration.members.map((m) => m.peerId) ?? [];
    this.#halted = { halt, members };
    core.phase = haltSentence(halt);
    const life = replicator?.messages.life() ?? null;
    core.closeReplicator();
    if (name !== "twice") {
      core.background = core.background.then(() => core.transport.stop());
      return;
    }
    core.router.enter(haltedStage(replicator?.clusterId ?? "", life, () => this.#resumeLater()));
  }

  /** Another process had this identity. A member accepts this one now: it goes on if none refuses it for a while. */
  #resumeLater(): void {
    const { clock, logger } = this.#core.components;
    const halted = this.#halted;
    clock.after(RESUME_MS, () => {
      if (halted === null || this.#halted !== halted || this.#core.isStopping) return;
      this.#halted = null;
      logger.info("no other process has the identity of this node any more; going on");
      this.#resume();
    });
  }

  #refusedAgain(peer: PeerId, reason: string): void {
    const halted = this.#halted;
    if (halted === null || !halted.members.includes(peer)) return;
    const name = this.#core.router.hellos.get(peer)?.name ?? peer;
    const halt = haltOf(reason, name, this.#core.options.db);
    // A new object: what waits for the end of the last refusals gives up.
    if (halt === null || halt.name === halted.halt.name) this.#halted = { ...halted };
    else this.begin(halt);
  }
}
