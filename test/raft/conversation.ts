/**
 * Members that act only on a script's commands, and a network that keeps every message until the script delivers or
 * drops
 * it. Every command returns its effects as text.
 */
import type { Ready } from "../../src/raft/raft.ts";
import {
  type Configuration,
  type Entry,
  type MemberId,
  type Message,
  MessageType,
} from "../../src/raft/model/types.ts";
import { newMessage } from "../../src/raft/raft.ts";
import { bytes, configuration, entry, Member, type MemberInit } from "./harness.ts";
import type { Command } from "./script.ts";
import {
  changeWords,
  configurationWords,
  entryWords,
  messageTypeOf,
  messageWords,
  progressWords,
  readChange,
  readyWords,
} from "./words.ts";

const ROUNDS_MAX = 1000;
const ELECTION_TICKS = 3;

class Node {
  readonly member: Member;
  /** A ready that is out while its write takes its time. */
  out: Ready | null = null;
  /** Its last reported state. */
  said = "";
  saidConfiguration: string;

  constructor(member: Member) {
    this.member = member;
    this.said = roleWords(member);
    this.saidConfiguration = configurationWords(member.raft.configuration);
  }
}

function roleWords({ raft }: Member): string {
  const { role, term, leader } = raft;
  if (role !== "follower") return `${role === "preCandidate" ? "pre-candidate" : role} in term ${term}`;
  return `follower in term ${term}${leader === 0 ? "" : ` of ${leader}`}`;
}

export class Conversation {
  readonly #nodes = new Map<MemberId, Node>();
  #inFlight: Message[] = [];
  #lines: string[] = [];

  execute(command: Command): readonly string[] {
    this.#lines = [];
    this.#do(command);
    this.#sayRoles();
    return command.has("quiet") ? this.#lines.filter((line) => line.includes(" is ")) : this.#lines;
  }

  #do(command: Command): void {
    const { args } = command;
    switch (command.name) {
      case "add-nodes":
        return this.#addNodes(command);
      case "campaign":
        return this.#of(command.id).member.raft.campaign();
      case "propose":
        return this.#say(this.#of(command.id).member.raft.propose(bytes(args[1] ?? "")));
      case "propose-conf-change": {
        const change = readChange(args.slice(1));
        const result = this.#of(command.id).member.raft.proposeConfigChange(change);
        return this.#say(`${result}: ${changeWords(change)}`);
      }
      case "read":
        return this.#say(this.#of(command.id).member.read(args[1] ?? ""));
      case "transfer-leadership":
        return this.#of(command.number("from", 0)).member.raft.transferLeader(command.number("to", 0));
      case "tick":
        return this.#of(command.id).member.tick(Number(args[1] ?? 1));
      case "tick-heartbeat":
        return this.#of(command.id).member.tick();
      case "tick-election":
        return this.#tickElection(this.#of(command.id).member);
      case "deliver-msgs":
        return this.#deliver(command);
      case "process-ready":
        return this.#each(command, (id) => this.#processReady(id));
      case "begin-ready":
        return this.#beginReady(command.id);
      case "finish-ready":
        this.#say(`${command.id} has written`);
        return this.#finishReady(command.id);
      case "stabilize":
        return this.#stabilize(command);
      case "report-unreachable":
        return this.#of(command.id).member.raft.reportUnreachable(Number(args[1]));
      case "report-snapshot":
        return this.#of(command.id).member.raft.reportSnapshot(Number(args[1]), args[2] === "ok");
      case "send-snapshot":
        return this.#sendSnapshot(command.id, Number(args[1]), command.number("of", command.id));
      case "compact":
        return this.#compact(command.id, Number(args[1]));
      case "restart":
        return this.#restart(command.id);
      case "raft-log":
        return this.#sayLog(this.#of(command.id).member);
      case "raft-state":
        return this.#each(command, (id) => this.#sayState(id));
      case "status":
        return this.#sayProgress(this.#of(command.id).member);
      case "messages":
        return this.#sayMessages();
      default:
        throw new Error(`no command is called "${command.name}"`);
    }
  }

  #of(id: MemberId): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new Error(`there is no ${id}`);
    return node;
  }

  #say(line: string): void {
    this.#lines.push(line);
  }

  #each(command: Command, what: (id: MemberId) => void): void {
    for (const id of command.ids.length > 0 ? command.ids : this.#nodes.keys()) what(id);
  }

  /** Changes of roles since the last report. */
  #sayRoles(): void {
    for (const [id, node] of this.#nodes) {
      const role = roleWords(node.member);
      if (role !== node.said) this.#say(`${id} is ${role}`);
      node.said = role;
      const now = configurationWords(node.member.raft.configuration);
      if (now !== node.saidConfiguration) this.#say(`${id} is in ${now}`);
      node.saidConfiguration = now;
    }
  }

  // ------------------------------------------------------------------------------------------------ members

  /** `index`: where every member's log begins. `log`: terms of entries from there on. */
  #addNodes(command: Command): void {
    for (let i = 0; i < command.id; i += 1) {
      const id = command.number("id", this.#nodes.size + 1) + (command.option("id") === undefined ? 0 : i);
      const member = new Member({ ...limits(command), ...storage(command), id, seed: id });
      member.storage.offered = {
        index: command.number("index", 0),
        term: command.number("index", 0) > 0 ? 1 : 0,
        configuration: member.raft.configuration,
      };
      this.#nodes.set(id, new Node(member));
      this.#say(`${id} is ${roleWords(member)}, log ends at ${member.raft.lastIndex}`);
    }
  }

  /** Crashes and restarts with the state on disk. */
  #restart(id: MemberId): void {
    const node = this.#of(id);
    node.out = null;
    node.member.restart();
  }

  /** A leader's election timeout; that of any other member, however it was drawn. */
  #tickElection(member: Member): void {
    const { isLeader, term, role } = member.raft;
    for (let i = 0; i < 2 * ELECTION_TICKS - 1; i += 1) {
      if (isLeader && i >= ELECTION_TICKS) return;
      member.tick();
      if (member.raft.term !== term || member.raft.role !== role) return;
    }
  }

  #compact(id: MemberId, index: number): void {
    const { member } = this.#of(id);
    const { applied } = member.raft;
    const term = member.storage.term(applied);
    member.storage.compact(index, member.raft.configuration);
    member.storage.offered = { index: applied, term, configuration: member.raft.configuration };
    this.#sayLog(member);
  }

  // ------------------------------------------------------------------------------------------------ readies

  #processReady(id: MemberId): void {
    const { member } = this.#of(id);
    if (!member.raft.hasReady()) {
      this.#say(`${id} has nothing to do`);
      return;
    }
    this.#beginReady(id);
    this.#finishReady(id);
  }

  /** Takes a ready; messages that need no write leave. */
  #beginReady(id: MemberId): void {
    const node = this.#of(id);
    const ready = node.member.raft.ready();
    node.out = ready;
    this.#sayRoles();
    this.#say(`${id} ready`);
    for (const line of readyWords(ready)) this.#say(`  ${line}`);
    for (const message of ready.messages) this.#send(message, "send");
  }

  #finishReady(id: MemberId): void {
    const node = this.#of(id);
    const { out } = node;
    if (out === null) throw new Error(`${id} has no ready out`);
    node.out = null;
    for (const message of out.messagesAfterPersist) this.#send(message, "then send");
    node.member.finish(out);
    this.#sayRoles();
  }

  #send(message: Message, how: string): void {
    this.#say(`  ${how} ${messageWords(message)}`);
    this.#inFlight.push(message);
  }

  // ------------------------------------------------------------------------------------------------ the network

  /** To the named members, or all; `drop`: messages to these are lost; `type`: only these. */
  #deliver(command: Command): void {
    const drop = command.numbers("drop");
    const named = [...command.ids, ...drop];
    const type = command.option("type");
    const isMeant = (message: Message): boolean =>
      (named.length === 0 || named.includes(message.to)) &&
      (type === undefined || message.type === messageTypeOf(type));
    const meant = this.#inFlight.filter(isMeant);
    this.#inFlight = this.#inFlight.filter((message) => !isMeant(message));
    if (meant.length === 0) this.#say("no messages");
    for (const message of meant) this.#take(message, drop.includes(message.to));
  }

  #take(message: Message, lost: boolean): void {
    const node = this.#nodes.get(message.to);
    const isLost = lost || node === undefined;
    this.#say(`${isLost ? "lost" : "takes"} ${messageWords(message)}`);
    if (!isLost) node.member.raft.step(message);
    this.#sayRoles();
  }

  /** `of`: the donor of the state, if the member got the offer from its leader and the state from another member. */
  #sendSnapshot(from: MemberId, to: MemberId, of: MemberId): void {
    const { term } = this.#of(from).member.raft;
    const snapshot = this.#of(of).member.storage.offered;
    this.#send(newMessage({ type: MessageType.snapshot, from, to, term, snapshot }), "send");
  }

  /** Readies and deliveries among the named members, or all, until none is left. */
  #stabilize(command: Command): void {
    const ids = command.ids.length > 0 ? command.ids : [...this.#nodes.keys()];
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const ready = ids.filter((id) => this.#of(id).out === null && this.#of(id).member.raft.hasReady());
      for (const id of ready) this.#processReady(id);
      const messages = this.#inFlight.filter(({ to }) => ids.includes(to));
      this.#inFlight = this.#inFlight.filter(({ to }) => !ids.includes(to));
      for (const message of messages) this.#take(message, false);
      if (ready.length === 0 && messages.length === 0) return;
    }
    throw new Error(`no end after ${ROUNDS_MAX} rounds`);
  }

  // ------------------------------------------------------------------------------------------------ looking

  #sayLog(member: Member): void {
    const first = member.storage.firstIndex();
    this.#say(`${member.id} has on disk ${first}…${member.storage.lastIndex()}`);
    const entries: readonly Entry[] = member.storage.all();
    for (const one of entries) this.#say(`  ${entryWords(one)}`);
  }

  #sayState(id: MemberId): void {
    const { member } = this.#of(id);
    const { commit, lastIndex } = member.raft;
    const { vote } = member.raft.status();
    this.#say(`${id}: ${roleWords(member)}, vote ${vote}, commit ${commit}, log ends at ${lastIndex}`);
  }

  #sayProgress(member: Member): void {
    const progress = member.raft.status().progress ?? [];
    for (const [id, one] of progress) this.#say(`${id}: ${progressWords(one)}`);
  }

  #sayMessages(): void {
    for (const message of this.#inFlight) this.#say(messageWords(message));
    if (this.#inFlight.length === 0) this.#say("none");
  }
}

function limits(command: Command): MemberInit {
  return {
    electionTicks: ELECTION_TICKS,
    preVote: command.has("pre-vote"),
    checkQuorum: command.has("check-quorum"),
    maxInflightMessages: command.number("max-inflight", 256),
    maxMessageBytes: command.number("max-message-bytes", 1 << 20),
    maxApplyBytes: command.number("max-apply-bytes", 1 << 30),
    maxUncommittedBytes: command.number("max-uncommitted-bytes", 1 << 30),
    disableProposalForwarding: command.has("no-forwarding"),
  };
}

function storage(command: Command): MemberInit {
  const index = command.number("index", 0);
  const terms = command.numbers("log");
  const term = command.number("term", terms.at(-1) ?? (index > 0 ? 1 : 0));
  const from: Configuration = configuration(command.numbers("voters"), command.numbers("learners"));
  return {
    configuration: from,
    storage: {
      hardState: { term, vote: 0, commit: index },
      compacted: { index, term: index > 0 ? 1 : 0 },
      entries: terms.map((one, i) => entry(one, index + 1 + i)),
    },
  };
}
