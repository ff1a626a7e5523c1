/** Messages, entries, configurations and readies in words, for recorded conversations. Positions are index/term. */
import { isJoint } from "../../src/raft/membership/membership.ts";
import { decodeConfigChange, type ProgressStatus, type Ready } from "../../src/raft/raft.ts";
import {
  type ConfigChange,
  ConfigChangeTransition,
  ConfigChangeType,
  type Configuration,
  type Entry,
  EntryType,
  type MemberId,
  type Message,
  MessageType,
} from "../../src/raft/model/types.ts";
import { text } from "./harness.ts";

const LETTERS: Readonly<Record<string, ConfigChangeType>> = {
  v: ConfigChangeType.addVoter,
  l: ConfigChangeType.addLearner,
  r: ConfigChangeType.removeMember,
};
const letterOf = (type: ConfigChangeType): string =>
  Object.keys(LETTERS).find((letter) => LETTERS[letter] === type) ?? "?";

const TRANSITIONS = { implicit: "jointImplicit", explicit: "jointExplicit" } as const;

/** `v2 l3 r1 explicit`; nothing: leave. */
export function readChange(words: readonly string[]): ConfigChange {
  const steps = words
    .filter((word) => !(word in TRANSITIONS))
    .map((word) => {
      const type = LETTERS[word.charAt(0)];
      if (type === undefined) throw new Error(`expected v1, l1 or r1, got "${word}"`);
      return { type, member: Number(word.slice(1)) };
    });
  const named = words.find((word) => word in TRANSITIONS) as keyof typeof TRANSITIONS | undefined;
  const context = new Uint8Array(0);
  if (named === undefined) return { steps, context };
  return { steps, transition: ConfigChangeTransition[TRANSITIONS[named]], context };
}

export function changeWords({ steps, transition = ConfigChangeTransition.auto }: ConfigChange): string {
  const words = steps.map(({ type, member }) => `${letterOf(type)}${member}`);
  if (transition === ConfigChangeTransition.jointImplicit) words.push("implicit");
  if (transition === ConfigChangeTransition.jointExplicit) words.push("explicit");
  return words.length === 0 ? "leave" : words.join(" ");
}

export function configurationWords(configuration: Configuration): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = configuration;
  const set = (ids: readonly MemberId[]): string => `(${ids.join(" ")})`;
  let words = set(voters);
  if (isJoint(configuration)) words += ` and ${set(votersOutgoing)}`;
  if (learners.length > 0) words += `, learners ${set(learners)}`;
  if (learnersNext.length > 0) words += `, learners next ${set(learnersNext)}`;
  return autoLeave ? `${words}, leaves by itself` : words;
}

export function entryWords({ index, term, type, data }: Entry): string {
  const position = index === 0 ? "" : `${index}/${term} `;
  if (type === EntryType.configChange) return `${position}[${changeWords(decodeConfigChange(data))}]`;
  return `${position}"${data.length > 20 ? `${data.length} bytes` : text(data)}"`;
}

const entriesWords = (entries: readonly Entry[]): string => entries.map(entryWords).join(" ");

const NAMES = Object.fromEntries(
  Object.entries(MessageType).map(([name, value]) => [
    value,
    name.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`),
  ]),
);

export const messageTypeOf = (name: string): MessageType => {
  const found = Object.entries(NAMES).find(([, known]) => known === name);
  if (found === undefined) throw new Error(`no message is called "${name}"`);
  return Number(found[0]) as MessageType;
};

export function messageWords(message: Message): string {
  const { type, from, to, term } = message;
  const details = detailWords(message);
  const head = `${from}→${to} ${NAMES[type]}${term === 0 ? "" : ` term ${term}`}`;
  return details === "" ? head : `${head}: ${details}`;
}

function detailWords(m: Message): string {
  const known = m.commit > 0 ? `, commit ${m.commit}` : "";
  switch (m.type) {
    case MessageType.propose:
      return entriesWords(m.entries);
    case MessageType.append:
      return `after ${m.index}/${m.logTerm}${m.entries.length > 0 ? `, ${entriesWords(m.entries)}` : ""}, commit ${m.commit}`;
    case MessageType.appendResponse:
      if (!m.reject) return `up to ${m.index}`;
      return m.index === 0 && m.rejectHint === 0
        ? "rejected"
        : `rejected after ${m.index}, try ${m.rejectHint}/${m.logTerm}`;
    case MessageType.vote:
    case MessageType.preVote:
      return `log ends with ${m.index}/${m.logTerm}${known}${m.context.length > 0 ? ", at the leader's bidding" : ""}`;
    case MessageType.voteResponse:
    case MessageType.preVoteResponse:
      return m.reject ? `refused${known}` : "granted";
    case MessageType.heartbeat:
      return `commit ${m.commit}${m.context.length > 0 ? ", reads wait" : ""}`;
    case MessageType.heartbeatResponse:
      return m.context.length > 0 ? "for reads" : "";
    case MessageType.snapshot:
      return m.snapshot === null
        ? "nothing"
        : `${m.snapshot.index}/${m.snapshot.term} of ${configurationWords(m.snapshot.configuration)}`;
    case MessageType.transferLeader:
      return `to ${m.index}`;
    case MessageType.readIndexResponse:
      return m.reject ? "refused" : `up to ${m.index}`;
    default:
      return "";
  }
}

/** A ready's contents, without its messages. */
export function readyWords({ hardState, snapshot, entries, committed, readStates }: Ready): string[] {
  const lines: string[] = [];
  if (hardState !== null) {
    const { term, vote, commit } = hardState;
    lines.push(`persist term ${term}, vote ${vote}, commit ${commit}`);
  }
  if (snapshot !== null) lines.push(`persist snapshot ${snapshot.index}/${snapshot.term}`);
  if (entries.length > 0) lines.push(`persist ${entriesWords(entries)}`);
  if (committed.length > 0) lines.push(`apply ${entriesWords(committed)}`);
  for (const { context, index } of readStates) lines.push(`read "${text(context)}": ${index ?? "not known"}`);
  return lines;
}

export function progressWords(progress: ProgressStatus): string {
  const { state, match, next, inflight, pendingSnapshot, paused, recentActive, isLearner } = progress;
  let words = `${state} match ${match} next ${next}`;
  if (inflight > 0) words += ` inflight ${inflight}`;
  if (pendingSnapshot > 0) words += ` snapshot ${pendingSnapshot}`;
  if (paused) words += " paused";
  if (!recentActive) words += " inactive";
  return isLearner ? `${words} learner` : words;
}
