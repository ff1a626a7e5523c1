/**
 * The time before a node is a member: it asks all connected peers for admission, meets the other nodes of a new cluster, and
 * says why it waits.
 */
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Role, tellRole } from "../../replication/members/role.ts";
import { type Control, encodeControl } from "../../replication/messages/control-messages.ts";
import { isNameTaken } from "../../replication/members/member-changes.ts";
import type { MessageRouter, Stage } from "../../replication/messages/message-router.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import type { Slot } from "../../shard/slots.ts";
import { fileData, fileDigest } from "./file-digest.ts";
import { Meeting, type Step } from "./meeting.ts";

/** Milliseconds between two requests to all connected peers; shorter for the first ones, since the next request is answered with the admission. */
const ASK_MS = 300;
const ASK_SOON_MS = 40;
const ASKED_SOON = 10;
/** The other nodes of a new cluster have this time to learn the reason. */
const REFUSE_AFTER_MS = 3000;
/** The name of this node is refused for this long before it gives up. */
const NAME_TAKEN_MS = 8000;
/** A refusal that is not repeated for this time has ended. */
const REFUSED_MS = 3000;
/** A reason is logged when it has not changed for the first time, and again after the second. */
const SAY_AFTER_MS = 3000;
const SAY_AGAIN_MS = 600_000;

export interface Admission {
  readonly member: number;
  readonly clusterId: string;
  readonly by: PeerId;
  /** null: an older build admitted this node. */
  readonly place: Slot | null;
  /** This node is a reader. */
  readonly isReader: boolean;
}

export interface AskOptions {
  readonly db: string;
  readonly peerId: PeerId;
  readonly name: string;
  readonly role: Role;
  /** The role was given, and must not be another one. */
  readonly isRoleChosen: boolean;
  /** Nodes that form a new cluster together; null: only a member can help. */
  readonly expect: number | null;
}

export interface AskComponents {
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The reason why this node waits. */
  readonly onPhase: (phase: string) => void;
  readonly signal: AbortSignal;
}

/** "form": this node forms the cluster that the others join. */
export const askToJoin = (options: AskOptions, components: AskComponents): Promise<Admission | "form"> =>
  new Asking(options, components).run();

class Asking {
  readonly #options: AskOptions;
  readonly #components: AskComponents;
  readonly #meeting: Meeting | null;
  #admission: Admission | null = null;
  #wake: () => void = () => {};
  #asked = 0;
  #digesting = false;
  #refusal: Extract<Step, { kind: "refuse" }> | null = null;
  #refusedAt: number | null = null;
  /** A member that answered this node's request with a refusal, which may end. */
  #refusedBy = { text: "", at: Number.NEGATIVE_INFINITY };
  /** Since when the name of this node is refused, and when it was refused last. */
  #taken = { since: Number.POSITIVE_INFINITY, at: Number.NEGATIVE_INFINITY };
  #said = { text: "", since: 0, at: Number.NEGATIVE_INFINITY, last: "" };

  constructor(options: AskOptions, components: AskComponents) {
    this.#options = options;
    this.#components = components;
    const { db, peerId, name, role, expect } = options;
    this.#meeting =
      expect === null ? null : new Meeting({ peerId, name, role: tellRole(role).role, expect }, fileData(db));
  }

  async run(): Promise<Admission | "form"> {
    const { router, clock, signal } = this.#components;
    router.enter(this.#stage());
    for (;;) {
      signal.throwIfAborted();
      if (this.#admission !== null) return this.#admission;
      this.#refuseTakenName();
      // A refusal is final, also when the other nodes have ended because of it.
      const step = this.#refusal ?? this.#meeting?.next(clock.now()) ?? null;
      if (step?.kind === "form") return "form";
      if (step?.kind === "refuse") this.#refuse(step);
      if (step?.kind === "compare") this.#digest();
      this.#say(this.#reason(step));
      this.#ask();
      await this.#pause();
    }
  }

  #stage(): Stage {
    return {
      clusterId: "",
      onConnect: () => {
        this.#asked = 0;
        this.#wake();
      },
      onDisconnect: (peer) => this.#meeting?.left(peer),
      onRaft: () => {}, // a leader may send messages before this node has a replica
      onControl: (by: PeerId, control: Control) => {
        if (control.kind === "refused") this.#refused(by, control.reason);
        if (control.kind === "meet") this.#meeting?.heard(by, control, this.#components.clock.now());
        // A member that begins an epoch tells its new life to nodes that are connected.
        if (control.kind === "life") this.#components.router.introduce(by, control);
        if (control.kind !== "joined") return;
        this.#admission ??= {
          ...{ member: control.member, clusterId: control.clusterId, by },
          place: control.place ?? null,
          isReader: control.reader === true,
        };
        this.#wake();
      },
      async *onTransfer() {
        yield* [];
        throw new Error("this node is joining and has no replica");
      },
    };
  }

  #refused(by: PeerId, reason: string): void {
    const { clock, router } = this.#components;
    const now = clock.now();
    if (isNameTaken(reason))
      this.#taken = { since: now - this.#taken.at > REFUSED_MS ? now : this.#taken.since, at: now };
    else
      this.#refusedBy = {
        text: `${router.hellos.get(by)?.name ?? by} refuses it: ${reason}`,
        at: now,
      };
  }

  /** The others must hear of this node's file before it ends: then they refuse, too. */
  #refuse(step: Extract<Step, { kind: "refuse" }>): void {
    const now = this.#components.clock.now();
    this.#refusal = step;
    this.#refusedAt ??= now;
    if (now - this.#refusedAt > REFUSE_AFTER_MS) throw new UserError(step.reason, step.hint);
  }

  /** A member that has just died counts as alive for some seconds. A leader that refused the name may be gone since. */
  #refuseTakenName(): void {
    const now = this.#components.clock.now();
    if (now - this.#taken.since <= NAME_TAKEN_MS || now - this.#taken.at > REFUSED_MS) return;
    throw new UserError(
      `the cluster has a member with the name ${this.#options.name}, and it is alive`,
      "choose another name with --name NAME",
    );
  }

  #ask(): void {
    const { transport, router, clock } = this.#components;
    const { name, role, isRoleChosen: chosen } = this.#options;
    const request = encodeControl({ kind: "join", name, ...tellRole(role), chosen, nonce: router.nonce });
    const offer = this.#meeting?.offer(clock.now());
    for (const peer of transport.connected()) {
      transport.send(peer, request, "urgent");
      if (offer !== undefined) transport.send(peer, encodeControl({ kind: "meet", ...offer }), "urgent");
    }
  }

  #pause(): Promise<void> {
    const ms = this.#asked++ < ASKED_SOON ? ASK_SOON_MS : ASK_MS;
    return new Promise<void>((resolve) => {
      const timer = this.#components.clock.after(ms, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  #digest(): void {
    if (this.#digesting) return;
    this.#digesting = true;
    void fileDigest(this.#options.db)
      .then((digest) => {
        this.#meeting!.data = digest;
      })
      .catch((error: unknown) => {
        this.#components.logger.warn("the file cannot be compared yet", { error: String(error) });
      })
      .finally(() => {
        this.#digesting = false;
      });
  }

  /** Why no admission came yet. */
  #reason(step: Step | null): string {
    const { transport, router, clock } = this.#components;
    const connected = transport.connected();
    const names = (joining: boolean): string[] =>
      connected
        .flatMap((peer) => {
          const hello = router.hellos.get(peer);
          return hello === undefined || (hello.clusterId === "") !== joining ? [] : [hello.name];
        })
        .sort();
    const members = names(false);
    const joiners = names(true);
    if (clock.now() - this.#refusedBy.at < REFUSED_MS)
      return `joining: waiting for the admission of this node; ${this.#refusedBy.text}`;
    if (members.length > 0)
      return `joining: ${members.join(", ")} of the cluster ${members.length === 1 ? "answers" : "answer"}; waiting for a leader to admit this node`;
    if (step?.kind === "refuse") return `forming a cluster: ${step.reason}`;
    if (step !== null)
      return `forming a cluster: ${step.kind === "wait" ? step.reason : "comparing files"}${this.#problems()}`;
    if (joiners.length > 0)
      return (
        `joining: ${joiners.length === 1 ? "the node that answers is" : `all ${joiners.length} that answer are`} joining, too (${joiners.join(", ")}), and none is a member of a cluster: ` +
        `start the node with the data without --peers, or give all ${joiners.length + 1} nodes --bootstrap-expect ${joiners.length + 1}${this.#problems()}`
      );
    return `joining: waiting for a member of the cluster to answer${this.#problems()}`;
  }

  #problems(): string {
    const { transport, router } = this.#components;
    const problems = transport.problems().map((p) => `${p.address}: ${p.reason}`);
    const refusals = router.refusals
      .list()
      .map(({ peerId, name, by, reason }) =>
        by === "peer"
          ? `${name || peerId} refuses this node: ${reason}`
          : `this node refuses ${name || peerId}: ${reason}`,
      );
    return [...refusals, ...problems].map((problem) => `; ${problem}`).join("");
  }

  #say(reason: string): void {
    const { onPhase, logger, clock } = this.#components;
    const now = clock.now();
    onPhase(reason);
    const said = this.#said;
    if (reason !== said.text) {
      said.text = reason;
      said.since = now;
    }
    if (now - said.since < SAY_AFTER_MS || (said.last === reason && now - said.at < SAY_AGAIN_MS)) return;
    said.at = now;
    said.last = reason;
    logger.info(reason);
  }
}
