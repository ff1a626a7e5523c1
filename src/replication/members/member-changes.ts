/** Answers requests that change the members: of joining nodes, of learners, and of operators through other nodes. */
import type { Clock } from "../../base/clock.ts";
import { showDuration } from "../../base/duration.ts";
import type { Logger } from "../../base/logger.ts";
import { dueVoterChange } from "./silent-voters.ts";
import { isNodeName, MAX_NODE_NAME } from "../../base/names.ts";
import { isWithin, type Role, toldRole } from "./role.ts";
import { type ChangeOutcome, MAX_VOTERS, refused } from "../../shard/cluster-members.ts";
import type { ShardRuntime } from "../../shard/runtime.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import { slotOf } from "../../shard/slots.ts";
import { type Control, encodeControl } from "../messages/control-messages.ts";

/** A member that was heard within this time is alive: a name that it has is taken. */
const ALIVE_MS = 6000;

/** A learner asks to become a voter in each of the first ticks, then once per `NEWS_TICKS`. */
const EAGER_TICKS = 50;
/** A learner asks to become a voter when it is at most so many entries behind the leaders' commit indexes. */
const PROMOTE_WITHIN = 200;
/** Members of a cluster. */
const MAX_MEMBERS = 64;
/** The default of `--replace-after`. */
export const REPLACE_AFTER_MS = 600_000;
/** Pause between two admissions: a flood of requests changes the configuration slowly. */
const ADMIT_MS = 100;
/** Peers whose last connection is remembered, beside the members. */
const MAX_SEEN = 512;
/** Refusals of joins that are remembered. */
const MAX_REFUSED = 256;

type Answer = (control: Control) => void;
type Request = Extract<Control, { kind: "join" | "leave" | "change" | "forward" | "promote" }>;
export type MemberChange = Omit<Extract<Control, { kind: "change" }>, "kind" | "id">;

export interface PromotionFacts {
  readonly role: Role;
  /** Since the start. */
  readonly ticks: number;
  readonly isNewsTick: boolean;
}

export interface MemberChangesComponents {
  readonly runtime: ShardRuntime;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly clusterId: string;
  readonly self: PeerId;
  /** A voter that is silent for so long gives its vote to a learner; 0: never. */
  readonly replaceAfterMs: number;
  /** The role that a peer may have at most, null: it may not join. Absent: each peer may have any role. */
  readonly admitted?: ((peer: PeerId) => Role | null) | undefined;
}

/** The text travels to the joining node, which shows it. */
const NAME_TAKEN = "name-taken: a member that is alive has this name";
/** Named on both sides. */
export const notAdmitted = (peer: PeerId): string =>
  `its peer id ${peer} is not in the list of --admit; hint: add the line "${peer} voter" to that file`;
export const isNameTaken = (reason: string): boolean => reason === NAME_TAKEN;

export class MemberChanges {
  readonly #components: MemberChangesComponents;
  /** When the connection to a peer was last seen to be open. */
  readonly #seenAt = new Map<PeerId, number>();
  readonly #startedAt: number;
  #admittedAt = Number.NEGATIVE_INFINITY;
  /** The change by command that was proposed last and is not in force; "": there is none. */
  #proposed = "";
  /** Refusals that are in the log. */
  readonly #refused = new Set<string>();

  constructor(components: MemberChangesComponents) {
    this.#components = components;
    this.#startedAt = components.clock.now();
  }

  /** Called on ticks. */
  look(): void {
    const { admitted, self } = this.#components;
    // A list that changed is read now, so that its errors are said.
    admitted?.(self);
    const now = this.#components.clock.now();
    for (const peer of this.#components.transport.connected()) this.#seenAt.set(peer, now);
    for (const peer of this.#seenAt.keys())
      if (this.#seenAt.size > MAX_SEEN && !this.#isMember(peer)) this.#seenAt.delete(peer);
    this.#replaceSilent(now);
  }

  #isMember(peer: PeerId): boolean {
    return this.#components.runtime.groups[0]!.memberOf(peer) !== undefined;
  }

  #replaceSilent(now: number): void {
    const { runtime, replaceAfterMs, logger } = this.#components;
    const [group] = runtime.groups;
    if (!group!.raft.isLeader) return;
    const { members, configuration } = group!.configuration;
    const seen = members.map((member) => ({
      member,
      isVoter: configuration.voters.includes(member.id),
      silentMs: this.#silentMs(member.peerId, now),
      behind: runtime.membership.lacks(member.id),
      mayVote: this.#beyondList(member.peerId, "voter") === null,
    }));
    const due = dueVoterChange(seen, replaceAfterMs);
    if (due?.kind === "replace") {
      runtime.membership.replace(due.voter, due.learner);
      const text = `${due.voter.name} is silent for ${showDuration(replaceAfterMs)}: ${due.learner.name} gets its vote`;
      const hint = `start ${due.voter.name} again, or remove it with marmot members remove ${due.voter.name}`;
      logger.event("member", text, { hint }, "warn");
    } else if (due !== null) {
      runtime.membership.giveBack(due.voter);
      logger.event("member", `${due.voter.name}, a learner by choice, gives its vote back`);
    }
  }

  #silentMs(peer: PeerId, now: number): number {
    if (this.#isConnected(peer)) return 0;
    return Math.max(1, now - (this.#seenAt.get(peer) ?? this.#startedAt));
  }

  #isConnected(peer: PeerId): boolean {
    const { transport, self } = this.#components;
    return peer === self || transport.connected().includes(peer);
  }

  /** A node that has just started does not know yet who is alive: it takes all for alive. */
  #isAlive(peer: PeerId): boolean {
    return this.#silentMs(peer, this.#components.clock.now()) < ALIVE_MS;
  }

  onRequest(peerId: PeerId, request: Request, answer: Answer): void {
    switch (request.kind) {
      case "join":
        return this.#join(peerId, request, answer);
      case "leave":
        return this.#leave(peerId, request.nonce, answer);
      case "change":
        return answer({ kind: "changed", id: request.id, ...shown(this.change(peerId, request)) });
      case "forward":
        return this.#forwarded(peerId, request);
      case "promote":
        return this.promote(peerId);
    }
  }

  #join(peerId: PeerId, request: Extract<Control, { kind: "join" }>, answer: Answer): void {
    const { runtime, clusterId } = this.#components;
    const admitted = this.#admit(peerId, request);
    if (admitted === "not leader") this.#forward(peerId, request);
    if (admitted === "name taken") answer({ kind: "refused", reason: NAME_TAKEN });
    if (typeof admitted !== "object") return;
    if ("refusal" in admitted) return answer({ kind: "refused", reason: admitted.refusal });
    const place = slotOf(runtime.groups[0]!.configuration.members, peerId);
    answer({
      ...{ kind: "joined", member: admitted.id, clusterId, shards: runtime.groups.length },
      ...(place === null ? {} : { place }),
      ...(admitted.reader === true ? { reader: true } : {}),
    });
  }

  /** A joining node may reach no leader: a member that does forwards its request. */
  #forward(peerId: PeerId, request: Extract<Control, { kind: "join" }>): void {
    const { runtime, transport } = this.#components;
    const { leaderPeer } = runtime.groups[0]!;
    if (leaderPeer !== "")
      transport.send(leaderPeer, encodeControl({ ...request, kind: "forward", peerId }), "urgent");
  }

  /** Only a member vouches for another node. */
  #forwarded(by: PeerId, request: Extract<Control, { kind: "forward" }>): void {
    if (this.#components.runtime.groups[0]!.memberOf(by) !== undefined) this.#admit(request.peerId, request);
  }

  #admit(
    peerId: PeerId,
    request: Extract<Control, { kind: "join" | "forward" }>,
  ): ReturnType<ShardRuntime["membership"]["admit"]> | { readonly refusal: string } {
    const { runtime, clock, admitted, logger } = this.#components;
    const { name, nonce } = request;
    const { members } = runtime.groups[0]!.configuration;
    if (members.length >= MAX_MEMBERS && members.every((m) => m.peerId !== peerId))
      return { refusal: `the cluster has ${MAX_MEMBERS} members already` };
    const isNew = members.every((m) => m.peerId !== peerId || m.admission !== nonce);
    const granted = isNodeName(name) ? grantedRole(peerId, request, admitted) : NO_NAME;
    if (isNew && typeof granted === "object") {
      if (runtime.groups[0]!.raft.isLeader) this.#refuseOnce(peerId, granted.refusal, logger);
      return granted;
    }
    // The peer asks again.
    if (isNew && clock.now() - this.#admittedAt < ADMIT_MS) return "proposed";
    if (isNew) this.#admittedAt = clock.now();
    return runtime.membership.admit(
      {
        ...{ peerId, name },
        ...(nonce === undefined ? {} : { admission: nonce }),
        ...(typeof granted === "object" || granted === "voter" ? {} : learnerFacts(granted)),
      },
      (peer) => this.#isAlive(peer),
    );
  }

  /** This node gets a vote when it has caught up, as long as there are few voters. */
  awaitsVote(role: Role): boolean {
    const { runtime, self } = this.#components;
    const [group] = runtime.groups;
    if (role !== "voter" || group!.memberOf(self)?.role === "learner" || runtime.isVoter(self)) return false;
    const { voters } = group!.configuration.configuration;
    return voters.length < MAX_VOTERS || voters.includes(runtime.member);
  }

  /** A learner that is close to the end of each log asks to become a voter. */
  askForPromotion({ role, ticks, isNewsTick }: PromotionFacts, readiness: { behind(): number }): void {
    if (ticks > EAGER_TICKS && !isNewsTick) return;
    const { transport, self } = this.#components;
    if (!this.awaitsVote(role) || readiness.behind() > PROMOTE_WITHIN) return;
    for (const peer of transport.connected())
      transport.send(peer, encodeControl({ kind: "promote" }), "urgent");
    this.promote(self);
  }

  promote(peerId: PeerId): void {
    const { membership, groups } = this.#components.runtime;
    const member = groups[0]!.memberOf(peerId);
    if (member === undefined || this.#beyondList(peerId, "voter") !== null) return;
    const { voters } = groups[0]!.configuration.configuration;
    const outcome = membership.promote(member, { asked: true, isAlive: false, isConnected: true });
    if (outcome.state === "proposed" && voters.length === 1) this.#warnOfTwo(member.name);
  }

  #warnOfTwo(name: string): void {
    this.#components.logger.event(
      "member",
      `${name} becomes the second voter: with two voters, neither may fail`,
      {
        hint: `add a third node, or take the vote back with marmot members demote ${name}; marmot members recover gives a quorum back when it is lost`,
      },
      "warn",
    );
  }

  /** `from`: null for this node itself. Only members change members. */
  change(from: PeerId | null, { action, member: id, to }: MemberChange): ChangeOutcome {
    const [group] = this.#components.runtime.groups;
    if (from !== null && group!.memberOf(from) === undefined)
      return { state: "refused", reason: "only members change members" };
    if (!group!.raft.isLeader) return { state: "not leader" };
    const key = `${action} ${id} ${to ?? ""}`;
    // Without a majority it would be in the log of this node alone, and take effect at some later time.
    if (!this.#hasMajority() && this.#proposed !== key) return { state: "not leader" };
    const outcome = this.#change({ action, member: id, ...(to === undefined ? {} : { to }) });
    this.#proposed = outcome.state === "proposed" ? key : "";
    return outcome;
  }

  #hasMajority(): boolean {
    const { members, configuration } = this.#components.runtime.groups[0]!.configuration;
    const voters = members.filter((m) => configuration.voters.includes(m.id));
    return 2 * voters.filter((m) => this.#isConnected(m.peerId)).length > voters.length;
  }

  #change({ action, member: id, to }: MemberChange): ChangeOutcome {
    const { membership, groups } = this.#components.runtime;
    const member = groups[0]!.configuration.members.find((m) => m.id === id);
    if (member === undefined)
      return action === "remove"
        ? membership.left(id)
        : { state: "refused", reason: "it is no member any more" };
    switch (action) {
      case "promote":
        return (
          this.#beyondList(member.peerId, "voter") ??
          membership.promote(member, {
            asked: false,
            isAlive: this.#isAlive(member.peerId),
            isConnected: this.#isConnected(member.peerId),
          })
        );
      case "demote": {
        const isReader = to === "reader";
        const refusal = isReader ? null : this.#beyondList(member.peerId, "learner");
        return refusal ?? membership.demote(member, isReader);
      }
      case "remove":
        return membership.remove(member);
      case "rename":
        return membership.rename(member, to ?? member.name);
    }
  }

  /** The refusal of a role that the list does not allow; null: it does. */
  #beyondList(peer: PeerId, role: Role): ChangeOutcome | null {
    const { admitted } = this.#components;
    const limit = admitted === undefined ? "voter" : admitted(peer);
    // A member that is not listed has joined before: the list is about joining.
    if (limit === null || isWithin(role, limit)) return null;
    return refused(
      `the list of --admit gives it the role ${limit}`,
      `write the line "${peer} ${role}" into that list on every node, then run the command again`,
    );
  }

  /** A joining node asks several times in a second. */
  #refuseOnce(peer: PeerId, reason: string, logger: Logger): void {
    const key = `${peer} ${reason}`;
    if (this.#refused.has(key)) return;
    if (this.#refused.size >= MAX_REFUSED) this.#refused.clear();
    this.#refused.add(key);
    logger.warn("a node may not join", { peer, reason });
  }

  /** Only the leader knows that an admission is not in force. */
  #leave(peerId: PeerId, nonce: string, answer: Answer): void {
    const { membership, groups } = this.#components.runtime;
    if (!groups[0]!.raft.isLeader) return;
    answer({ kind: "changed", id: nonce, ...shown(membership.withdraw(peerId, nonce)) });
  }
}

const NO_NAME = {
  refusal: `its name should be at most ${MAX_NODE_NAME} printable characters: start it with --name NAME`,
};

const learnerFacts = (role: Role): { readonly role: "learner"; readonly reader?: true } =>
  role === "reader" ? { role: "learner", reader: true } : { role: "learner" };

/** The role of a node that joins, or why it may not have the one that it chose. */
function grantedRole(
  peer: PeerId,
  request: Extract<Control, { kind: "join" | "forward" }>,
  admitted: MemberChangesComponents["admitted"],
): Role | { readonly refusal: string } {
  const role = toldRole(request);
  if (admitted === undefined) return role;
  const limit = admitted(peer);
  if (limit === null) return { refusal: notAdmitted(peer) };
  if (isWithin(role, limit)) return role;
  if (request.chosen !== true) return limit;
  const refusal = `the list of --admit gives ${peer} the role ${limit}, and it has --role ${role}: start it without --role`;
  return { refusal };
}

const shown = (outcome: ChangeOutcome): { state: ChangeOutcome["state"]; reason: string } => ({
  state: outcome.state,
  reason: outcome.state === "refused" ? outcome.reason : "",
});
