/** The invariants after every step. They read the state, the files and the messages of all nodes. */
import { asPeerId } from "../../src/base/ids.ts";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Replicator } from "../../src/replication/replicator.ts";
import { type Message, MessageType } from "../../src/raft/model/types.ts";
import { MessageKind } from "../../src/shard/frames.ts";
import { decodeMessages } from "../../src/shard/wire.ts";
import { deviations } from "../node/deviations.ts";
import { type Tags, TOTAL_OF_OWNER } from "./application.ts";
import { digest } from "./digest.ts";
import type { History } from "./history.ts";
import { writeOf } from "./judge.ts";
import type { Order } from "./order.ts";
import type { SimNode } from "./sim-node.ts";

/** One in so many of these looks is taken: they read whole files. */
const DIGEST_EVERY = 16;
const COMPARE_EVERY = 12;

interface Watched {
  /** Of this member; for a new one the state begins again. */
  member: Replicator | null;
  reflections: number;
  vector: string;
  /** Per shard: index up to which committed entries were compared. */
  commits: number[];
  /** Term for which leader completeness was looked at. */
  ledTerms: number[];
  /** Commit index since it leads; -1: it does not. */
  ledCommits: number[];
  ready: boolean;
  /** Confirmed positions when it started, or had no leader: a ready node has them. */
  owed: number[];
}

interface Kept {
  term: number;
  commit: number;
  readonly votes: Map<number, number>;
}

export class Checks {
  readonly problems: string[] = [];
  readonly #nodes: readonly SimNode[];
  readonly #shards: number;
  readonly #whole: boolean;
  readonly #order: Order;
  readonly #history: History;
  readonly #watched = new Map<SimNode, Watched>();
  readonly #kept = new Map<string, Kept>();
  readonly #leaders = new Map<string, string>();
  readonly #digests = new Map<string, { node: string; tables: Map<string, bigint> }>();
  readonly #observers = new Map<
    SimNode,
    { epoch: number; db: DatabaseSync; tags: StatementSync; bank: StatementSync }
  >();
  /** Positions at which `wait` confirmed something anywhere. */
  readonly #confirmed: number[];
  /** Counts of the checks, for the report. */
  readonly counts = { steps: 0, comparisons: 0, digests: 0, equalDigests: 0, entries: 0 };

  constructor(
    nodes: readonly SimNode[],
    shards: number,
    transactions: "whole" | "row",
    order: Order,
    history: History,
  ) {
    this.#nodes = nodes;
    this.#whole = transactions === "whole";
    this.#shards = shards;
    this.#order = order;
    this.#history = history;
    this.#confirmed = Array.from({ length: shards }, () => 0);
  }

  /** Positions, joined by commas, ⇒ the replica as a node had it there. */
  get digests(): ReadonlyMap<string, Map<string, bigint>> {
    return new Map([...this.#digests].map(([at, { tables }]) => [at, tables]));
  }

  close(): void {
    for (const { db } of this.#observers.values()) db.close();
    this.#observers.clear();
  }

  confirmed(positions: readonly number[]): void {
    positions.forEach((index, shard) => {
      this.#confirmed[shard] = Math.max(this.#confirmed[shard]!, index);
    });
  }

  started(node: SimNode): void {
    this.#of(node).owed = [...this.#confirmed];
    this.#of(node).ready = false;
  }

  #of(node: SimNode): Watched {
    let watched = this.#watched.get(node);
    if (watched === undefined) {
      const zeros = (): number[] => Array.from({ length: this.#shards }, () => 0);
      watched = {
        member: null,
        reflections: 0,
        vector: "",
        commits: zeros(),
        ledTerms: zeros(),
        ledCommits: zeros().map(() => -1),
        ready: false,
        owed: zeros(),
      };
      this.#watched.set(node, watched);
    }
    return watched;
  }

  #keptOf(node: SimNode, shard: number): Kept {
    const name = `${node.name}/${shard}`;
    let kept = this.#kept.get(name);
    if (kept === undefined) this.#kept.set(name, (kept = { term: 0, commit: 0, votes: new Map() }));
    return kept;
  }

  // ------------------------------------------------------------------------------------------ what is sent

  /** What promises something must have it on disk. */
  sent(node: SimNode, message: Uint8Array): void {
    if (message[0] !== MessageKind.raft) return;
    const member = node.process;
    if (member === null) return;
    for (const { shard, message: m } of decodeMessages(message.subarray(1), this.#shards))
      this.#promise(node, member, shard, m);
  }

  #promise(node: SimNode, member: Replicator, shard: number, message: Message): void {
    const log = member.log.group(shard);
    const { term, vote } = log.hardState;
    const say = (what: string): void =>
      void this.problems.push(
        `promise: ${node.name} sends ${what} of shard ${shard}, on disk is term ${term}`,
      );
    if (message.type === MessageType.appendResponse && !message.reject) {
      if (message.index > log.lastIndex())
        say(`an acknowledgement of ${message.index} (its log ends at ${log.lastIndex()})`);
      if (message.term > term) say(`an acknowledgement in term ${message.term}`);
    }
    if (message.type === MessageType.vote && message.term > term) say(`a candidacy in term ${message.term}`);
    if (message.type !== MessageType.voteResponse || message.reject) return;
    // The term on disk may be later by now; then the node does not vote in the earlier term.
    if (message.term > term || (message.term === term && vote !== message.to))
      say(`a vote for ${message.to} in term ${message.term}`);
    const { votes } = this.#keptOf(node, shard);
    const before = votes.get(message.term);
    if (before !== undefined && before !== message.to)
      this.problems.push(
        `${node.name} votes for ${before} and ${message.to} in term ${message.term} of shard ${shard}`,
      );
    votes.set(message.term, message.to);
  }

  /** After a durable write of the log: terms only grow, also over crashes. */
  written(node: SimNode, member: Replicator): void {
    for (let shard = 0; shard < this.#shards; shard++) {
      const kept = this.#keptOf(node, shard);
      const { term } = member.log.group(shard).hardState;
      if (term < kept.term)
        this.problems.push(`${node.name} goes back from term ${kept.term} to ${term} in shard ${shard}`);
      kept.term = Math.max(kept.term, term);
    }
  }

  // ------------------------------------------------------------------------------------------ after a step

  after(): void {
    this.counts.steps++;
    for (const node of this.#nodes) {
      if (!node.touched) continue;
      node.touched = false;
      const { member } = node;
      if (member === null) continue;
      const watched = this.#of(node);
      if (watched.member !== member) {
        watched.member = member;
        watched.reflections = 0;
        watched.vector = "";
        watched.commits.fill(0);
        watched.ledCommits.fill(-1);
        node.watchLog(member, () => this.written(node, member));
      }
      this.#raft(node, member, watched);
      this.#state(node, member, watched);
      this.#file(node, member, watched);
      this.#readiness(node, member, watched);
    }
  }

  #raft(node: SimNode, member: Replicator, watched: Watched): void {
    for (const group of member.runtime.groups) {
      const { shard, raft, log } = group;
      const upTo = Math.min(raft.commit, log.lastIndex());
      const from = Math.max(watched.commits[shard]! + 1, log.firstIndex());
      if (upTo >= from) {
        for (const entry of log.entries(from, upTo + 1, Number.POSITIVE_INFINITY)) {
          this.counts.entries++;
          const wrong = this.#order.note(node.name, shard, entry);
          if (wrong !== null) this.problems.push(wrong);
        }
        watched.commits[shard] = upTo;
      }
      // Also after a restart: a replica that lost its end gets it back from the log, not from others.
      const shown = Math.min(member.readiness.reflected[shard] ?? 0, log.lastIndex());
      if (raft.commit < shown)
        this.problems.push(
          `${node.name} shows ${shown} of shard ${shard}, and knows only ${raft.commit} to be committed`,
        );
      if (!raft.isLeader) {
        watched.ledCommits[shard] = -1;
        continue;
      }
      const led = watched.ledCommits[shard]!;
      watched.ledCommits[shard] = raft.commit;
      if (
        led >= 0 &&
        raft.commit > led &&
        raft.commit <= log.lastIndex() &&
        log.term(raft.commit) !== raft.term
      )
        this.problems.push(
          `commit rule: ${node.name} commits ${raft.commit} of shard ${shard}, an entry of term ${log.term(raft.commit)}, in term ${raft.term}`,
        );
      const name = `${shard}/${raft.term}`;
      const leader = this.#leaders.get(name) ?? node.name;
      if (leader !== node.name)
        this.problems.push(
          `election safety: ${leader} and ${node.name} lead term ${raft.term} of shard ${shard}`,
        );
      this.#leaders.set(name, node.name);
      if (watched.ledTerms[shard] === raft.term) continue;
      watched.ledTerms[shard] = raft.term;
      for (
        let index = this.#order.last(shard);
        index >= log.firstIndex() && index > this.#order.last(shard) - 50;
        index--
      ) {
        const term = this.#order.termAt(shard, index);
        if (term === undefined || term > raft.term) continue;
        if (index > raft.lastIndex || (index <= log.lastIndex() && log.term(index) !== term))
          this.problems.push(
            `leader completeness: ${node.name} leads term ${raft.term} of shard ${shard} without committed entry ${index} of term ${term}`,
          );
      }
    }
  }

  /** Equal positions, equal replicas. */
  #state(node: SimNode, member: Replicator, watched: Watched): void {
    const { replica, db } = member.replica;
    if (!replica.betweenEntries) return;
    const vector = replica.positions().join(",");
    if (vector === watched.vector) return;
    watched.vector = vector;
    replica.positions().forEach((index, shard) => {
      const { commit } = member.runtime.groups[shard]!.raft;
      if (index > commit)
        this.problems.push(`${node.name} applied ${index} of shard ${shard}, committed is ${commit}`);
    });
    // The same vectors are looked at on every node.
    if (Number(Bun.hash.xxHash32(vector)) % DIGEST_EVERY !== 0) return;
    this.counts.digests++;
    const tables = digest(db, replica.shapes.values());
    const known = this.#digests.get(vector);
    if (known === undefined) {
      this.#digests.set(vector, { node: node.name, tables });
      return;
    }
    this.counts.equalDigests++;
    for (const [table, hash] of tables)
      if (known.tables.get(table) !== hash)
        this.problems.push(`the replicas of ${known.node} and ${node.name} differ at ${vector} in ${table}`);
  }

  observer(node: SimNode): { db: DatabaseSync; tags: StatementSync; bank: StatementSync } {
    const known = this.#observers.get(node);
    if (known !== undefined && known.epoch === node.fileEpoch) return known;
    known?.db.close();
    const db = node.observe();
    const tags = db.prepare(node.application.tagsSql);
    const bank = db.prepare("SELECT owner, sum(amount) FROM bank GROUP BY owner");
    for (const statement of [tags, bank]) statement.setReturnArrays(true);
    const observer = { epoch: node.fileEpoch, db, tags, bank };
    this.#observers.set(node, observer);
    return observer;
  }

  tags(node: SimNode): Tags {
    return new Map(this.observer(node).tags.all() as unknown as [string, string][]);
  }

  /**
   * The last sender of the write is another node that installed a snapshot over its own replica and touched the row.
   * It cannot tell a touched row from a changed one; see `Judge.#orderedTwice`.
   */
  #isSentAgain(node: SimNode, member: Replicator, write: string): boolean {
    const adopted = new Set(this.#nodes.flatMap((n) => (n.adopted && n !== node ? [n.peerId] : [])));
    if (adopted.size === 0) return false;
    let last: string | null = null;
    for (const { origin, table, row } of this.#order.taken(member.replica.replica.shapes))
      if (row.image !== null && writeOf(table, row.image) === write) last = origin;
    return last !== null && adopted.has(asPeerId(last));
  }

  /** After a transaction of Marmot in the application's file. */
  #file(node: SimNode, member: Replicator, watched: Watched): void {
    const { reflections } = member.pipeline.counters();
    if (reflections === watched.reflections) return;
    watched.reflections = reflections;
    const isSentAgain = (write: string): boolean => this.#isSentAgain(node, member, write);
    this.problems.push(...this.#history.steppedBack(node.options.number, this.tags(node), isSentAgain));
    if (this.#whole)
      for (const [owner, sum] of this.observer(node).bank.all() as unknown as [number, number][])
        if (sum !== TOTAL_OF_OWNER)
          this.problems.push(
            `half a transaction: ${node.name} shows ${sum} of ${TOTAL_OF_OWNER} of owner ${owner}`,
          );
    if (reflections % COMPARE_EVERY === 0) this.compare(node, member);
  }

  /** The whole file against the whole replica. */
  compare(node: SimNode, member: Replicator): void {
    const { replica, db } = member.replica;
    const reflected = member.readiness.reflected;
    // A change that no trigger captured counts as unacknowledged only after the comparison.
    if (member.pipeline.schemaDue || member.reader.schemaMovedBeside()) return;
    if (!replica.betweenEntries || replica.changed.size > 0 || member.pipeline.reflecting) return;
    if (replica.positions().some((index, shard) => index !== reflected[shard])) return;
    this.counts.comparisons++;
    const { db: appDb } = this.observer(node);
    const shadowed = new Set(
      (appDb.prepare(`SELECT "id" FROM "__marmot__shadow"`).all() as { id: number }[]).map((r) => r.id),
    );
    for (const wrong of deviations({
      appDb,
      replica: db,
      shapes: replica.shapes.values(),
      encoding: replica.settings.encoding,
      session: member.pipeline.session,
      source: replica,
      returnsLater: ({ id }) => shadowed.has(id),
    }))
      this.problems.push(`the file of ${node.name} is not its replica with what is pending: ${wrong}`);
  }

  /** A node that says ready has every change of a shard that was confirmed before it started or last had no leader there. */
  #readiness(node: SimNode, member: Replicator, watched: Watched): void {
    const leaderless = member.runtime.groups.filter((g) => g.leaderPeer === "");
    for (const { shard } of leaderless) watched.owed[shard] = this.#confirmed[shard]!;
    if (leaderless.length > 0) {
      watched.ready = false;
      return;
    }
    if (watched.ready) return;
    if (node.node?.api.notReady() !== null) return;
    watched.ready = true;
    const positions = member.replica.replica.positions();
    watched.owed.forEach((index, shard) => {
      if (positions[shard]! < index)
        this.problems.push(
          `${node.name} says ready at ${positions[shard]} of shard ${shard}; ${index} was confirmed before it came in touch`,
        );
    });
  }
}
