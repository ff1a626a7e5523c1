/** Events of members: joined, promoted, demoted, renamed, removed; silent and back. */
import type { Logger } from "../../base/logger.ts";
import { showSpan } from "../../base/text/spans.ts";

/** A peer that is connected again within this time was not silent. */
const PATIENCE_MS = 2500;

export interface SeenMember {
  readonly id: number;
  readonly name: string;
  readonly isVoter: boolean;
  /** Or it is this node. */
  readonly connected: boolean;
}

export interface Membership {
  /** The configuration's index: members differ only if it does. */
  readonly index: number;
  readonly members: readonly SeenMember[];
}

interface Silence {
  readonly since: number;
  said: boolean;
}

export class MemberEvents {
  readonly #logger: Logger;
  #last: Membership | null = null;
  readonly #silent = new Map<number, Silence>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** null: the node is no member now. */
  look(now: Membership | null, at: number): void {
    if (now === null) return;
    if (this.#last !== null && this.#last.index !== now.index) this.#compare(this.#last.members, now.members);
    this.#last = now;
    for (const member of now.members) this.#lookAt(member, now, at);
    for (const id of this.#silent.keys()) if (!now.members.some((m) => m.id === id)) this.#silent.delete(id);
  }

  #compare(before: readonly SeenMember[], after: readonly SeenMember[]): void {
    const voters = after.filter((m) => m.isVoter).length;
    const tell = (text: string, member: SeenMember): void =>
      this.#logger.event("member", text, { member: member.name, voters });
    const count = `the cluster has ${voters} voter${voters === 1 ? "" : "s"}`;
    for (const m of after) {
      const old = before.find(({ id }) => id === m.id);
      if (old === undefined) tell(`${m.name} joined as a ${m.isVoter ? "voter" : "learner"}`, m);
      else if (old.isVoter !== m.isVoter)
        tell(`${m.name} ${m.isVoter ? "was promoted" : "was demoted"}: ${count}`, m);
      else if (old.name !== m.name) tell(`${old.name} was renamed: it is ${m.name} now`, m);
    }
    for (const m of before)
      if (!after.some(({ id }) => id === m.id)) tell(`${m.name} was removed: ${count}`, m);
  }

  #lookAt(member: SeenMember, { members }: Membership, at: number): void {
    const silence = this.#silent.get(member.id);
    const voters = members.filter((m) => m.isVoter);
    const inTouch = voters.filter((m) => m.connected).length;
    const touch = `${inTouch} of ${voters.length} voters in touch`;
    const fields = { peer: member.name, voters: voters.length, inTouch };
    if (member.connected) {
      this.#silent.delete(member.id);
      if (silence?.said === true)
        this.#logger.event("peer", `${member.name} is back after ${showSpan(at - silence.since)}: ${touch}`, {
          ...fields,
          afterMs: Math.round(at - silence.since),
        });
      return;
    }
    if (silence === undefined) this.#silent.set(member.id, { since: at, said: false });
    else if (!silence.said && at - silence.since >= PATIENCE_MS) {
      silence.said = true;
      this.#logger.event("peer", `${member.name} is silent: ${touch}`, fields, "warn");
    }
  }
}
