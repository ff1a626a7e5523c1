/**
 * Runs a plan: whole nodes on real SQLite files in one process, with simulated time, network, power and applications. One
 * seed, one course of events. Stops at the first thing that is wrong.
 */
import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { Random } from "../../src/base/random.ts";
import { forAll } from "../../src/change/per-table.ts";
import { makeFile } from "../differential/application.ts";
import { rowsBesideOf, rowsOf, SCHEMA } from "./application.ts";
import { judgeArchive, MemoryStore } from "./archive.ts";
import { Checks } from "./checks.ts";
import { BESIDE } from "./generated.ts";
import { KEYLESS_SCHEMA } from "./keyless.ts";
import { History } from "./history.ts";
import { Judge } from "./judge.ts";
import { CALM, Network } from "./network.ts";
import { Order } from "./order.ts";
import { Past } from "./past.ts";
import { type Action, type Generated, MAX_NODES, type Plan, type Planned } from "./plan.ts";
import { unsettled } from "./rest.ts";
import { IO_ERROR, SimNode } from "./sim-node.ts";
import { copyTemplate, peerIdOfNode, scratch, writeIdentity } from "./template.ts";
import { World } from "./world.ts";

/** Simulated milliseconds after healing within which everything must have come to rest. */
const SETTLE_MS = 90_000;
/** An application that found the file locked tries again after this. */
const RETRY_MS = 1.5;
const WAIT_MS = 4000;
/** Turns of the real event loop without a simulated event after which nothing more will come. */
const IDLE_STEPS = 10_000;
/** A node that stopped because its disk was full is started again after this. */
const RESTART_MS = 400;

export interface Result {
  readonly plan: Plan;
  /** Empty: everything held. */
  readonly problems: readonly string[];
  readonly trace: readonly string[];
  /**
   * The story of the rows that the problems name: which transactions found and left which tag, and the rows in the
   * total order.
   */
  readonly story: readonly string[];
  readonly hash: string;
  readonly simulatedMs: number;
  readonly wallMs: number;
  readonly counts: Readonly<Record<string, number>>;
}

export async function simulate(plan: Plan, options: { verbose?: boolean } = {}): Promise<Result> {
  const simulation = new Simulation(plan, options.verbose ?? false);
  return simulation.run();
}

export class Simulation {
  readonly plan: Plan;
  readonly world: World;
  readonly network: Network;
  readonly history = new History();
  readonly order: Order;
  readonly checks: Checks;
  readonly nodes: SimNode[] = [];
  readonly #folder = scratch("sim");
  readonly #verbose: boolean;
  readonly #judge: Judge;
  /** null: the nodes ship to no archive. */
  readonly #archive: MemoryStore | null;
  #crashes = 0;
  /** Positions of the archive that were compared. */
  #archived = 0;
  /** Merged objects of the archive. */
  #merged = 0;

  constructor(plan: Plan, verbose: boolean) {
    this.plan = plan;
    this.#verbose = verbose;
    this.world = new World(plan.seed, verbose);
    this.network = new Network(this.world);
    this.network.profile = plan.network;
    this.order = new Order(plan.shards);
    this.checks = new Checks(this.nodes, plan.shards, transactionsOf(plan), this.order, this.history);
    this.#judge = new Judge(this);
    this.#archive = plan.archived === true ? new MemoryStore(plan.seed) : null;
  }

  async run(): Promise<Result> {
    const wall = performance.now();
    const { plan, world, checks } = this;
    try {
      await this.#prepare();
      for (const planned of plan.actions) world.after(planned.at, () => this.#act(planned));
      const end = world.now + plan.ms;
      await this.#until(() => world.now >= end, plan.ms);
      this.#heal();
      if (!(await this.#until(() => this.settled, SETTLE_MS)) && checks.problems.length === 0)
        checks.problems.push(
          `no rest within ${SETTLE_MS / 1000} s after healing: ${this.#unsettled().join("; ")}`,
        );
      if (checks.problems.length === 0) this.#judge.judge();
      if (checks.problems.length === 0 && this.#archive !== null) await this.#judgeArchive(this.#archive);
      if (checks.problems.length === 0)
        await new Past({
          ...{ plan, present: this.present, problems: checks.problems, world },
          isSettled: () => this.settled,
        }).judge();
    } catch (error) {
      checks.problems.push(`the simulation broke: ${error instanceof Error ? error.stack : String(error)}`);
    }
    const story = this.#judge.story();
    await this.#stop();
    rmSync(this.#folder, { recursive: true, force: true });
    return {
      plan,
      problems: checks.problems,
      trace: world.trace,
      story,
      hash: world.hash,
      simulatedMs: world.now,
      wallMs: performance.now() - wall,
      counts: {
        ...checks.counts,
        ...(this.#archive === null ? {} : { archived: this.#archived, merged: this.#merged }),
        events: world.events,
        messages: this.network.messages,
        transactions: this.history.count,
        crashes: this.#crashes,
      },
    };
  }

  /** It catches up, and each of its positions is what the nodes had there. */
  async #judgeArchive(store: MemoryStore): Promise<void> {
    store.calm = true;
    const isBehind = (): boolean =>
      this.present.every((node) => {
        const { archive } = node.node?.api.status() ?? { archive: null };
        return archive?.state !== "shipping" || archive.position === null || archive.behindEntries > 0;
      });
    if (!(await this.#until(() => !isBehind(), SETTLE_MS)) && this.checks.problems.length === 0)
      this.checks.problems.push(
        `the archive stays behind: ${JSON.stringify(this.present[0]?.node?.api.status().archive)}`,
      );
    const { problems, compared, merged } = await judgeArchive(store, this.checks.digests, {
      ...{ seed: this.plan.seed, file: `${this.#folder}/archived.db` },
    });
    this.checks.problems.push(...problems);
    this.#archived = compared;
    this.#merged = merged;
  }

  async #prepare(): Promise<void> {
    const { plan } = this;
    if (plan.fresh || plan.generated !== undefined) await this.#lay(this.#folder, plan.members);
    else await Simulation.copyFormed(plan, this.#folder);
    for (let i = 0; i < MAX_NODES; i++) this.nodes.push(await this.#node(i, this.#folder));
    for (const node of this.nodes.slice(0, plan.members)) node.begin();
    if (plan.generated !== undefined && !plan.fresh) await this.#form();
  }

  /** Puts the files of a formed cluster into `folder`. */
  static copyFormed(
    plan: Pick<Plan, "shards" | "transactions" | "members" | "keyless">,
    folder: string,
  ): Promise<void> {
    const { shards, members } = plan;
    const keyless = plan.keyless === true;
    const transactions = transactionsOf(plan);
    return copyTemplate(
      `${shards}-${transactions}-${members}${keyless ? "-keyless" : ""}`,
      folder,
      (empty) => {
        const calm: Plan = {
          ...{ seed: 1, shards, transactions, members, fresh: true, keepEntries: 2000, keyless },
          ...{ network: CALM, rates: Array.from({ length: MAX_NODES }, () => 1), eventLoss: 0 },
          ...{ synchronous: Array.from({ length: MAX_NODES }, () => "NORMAL" as const) },
          ...{ recursiveTriggers: false, foreignKeys: true, ms: 0, actions: [] },
        };
        return new Simulation(calm, false).#found(empty);
      },
    );
  }

  /** A schema of one plan: there is no template of a formed cluster to copy. */
  async #form(): Promise<void> {
    this.network.profile = CALM;
    if (!(await this.#until(() => this.settled, SETTLE_MS)) && this.checks.problems.length === 0)
      this.checks.problems.push(`the cluster does not form: ${this.#unsettled().join("; ")}`);
    this.network.profile = this.plan.network;
  }

  /** Forms the template's cluster in `folder`. */
  async #found(folder: string): Promise<void> {
    const { members } = this.plan;
    await this.#lay(folder, members);
    for (let i = 0; i < members; i++) this.nodes.push(await this.#node(i, folder));
    for (const node of this.nodes) node.begin();
    const formed = await this.#until(() => this.settled, SETTLE_MS);
    const unsettled = this.#unsettled();
    await this.#stop();
    rmSync(this.#folder, { recursive: true, force: true });
    if (!formed || this.checks.problems.length > 0)
      throw new Error(`the template cannot be formed: ${[...this.checks.problems, ...unsettled].join("; ")}`);
  }

  /** The file of the first node, and the identities of all nodes. */
  async #lay(folder: string, members: number): Promise<void> {
    const { generated, keyless } = this.plan;
    if (generated !== undefined) {
      const beside = Array.from({ length: MAX_NODES }, (_, i) => rowsBesideOf(i)).flat();
      const schema = [...generated.schema, ...BESIDE, ...beside];
      makeFile(`${folder}/n0.db`, { encoding: generated.encoding, schema });
    } else {
      const db = new Database(`${folder}/n0.db`, { create: true });
      db.exec(`PRAGMA journal_mode = WAL; BEGIN; ${SCHEMA}${keyless === true ? KEYLESS_SCHEMA : ""}`);
      for (let i = 0; i < MAX_NODES; i++) db.exec(rowsOf(i));
      db.exec("COMMIT");
      db.close();
    }
    for (let i = 0; i < members; i++) await writeIdentity(`${folder}/n${i}.db.marmot`, i);
  }

  async #node(number: number, folder: string): Promise<SimNode> {
    const { plan, world, network } = this;
    const node = new SimNode(
      {
        number,
        folder,
        peerId: await peerIdOfNode(number),
        shards: plan.shards,
        transactions: transactionsOf(plan),
        keepEntries: plan.keepEntries,
        rate: plan.rates[number]!,
        eventLoss: plan.eventLoss,
        synchronous: plan.synchronous[number]!,
        ...(this.#archive === null ? {} : { archive: this.#archive }),
        ...(plan.generated === undefined ? {} : { settings: settingsOf(plan.generated) }),
      },
      {
        world,
        network,
        random: world.random.fork(),
        verbose: this.#verbose,
        hooks: {
          onSend: (from, message) => this.checks.sent(from, message),
          onFailure: (from, error) => this.#failed(from, error),
          onRefused: (at, from, error) =>
            void this.checks.problems.push(
              `${at.name} was sent what is no message by ${from}: ${String(error)}`,
            ),
          onStarted: (started) => this.checks.started(started),
          onPowerLost: (at) => {
            const survived = at.application.isOpen ? at.application.survived() : null;
            if (survived !== null)
              this.checks.problems.push(...this.history.lose(at.options.number, survived));
          },
        },
      },
    );
    node.application.recursiveTriggers = plan.recursiveTriggers;
    node.application.foreignKeys = plan.foreignKeys;
    node.application.keyless = plan.keyless === true;
    node.application.generated = plan.generated ?? null;
    return node;
  }

  /**
   * A full disk may stop a node, and an I/O error must. So may an application that holds the write lock while a
   * cluster is formed. Every other stop is a problem.
   */
  #failed(node: SimNode, error: Error): void {
    const isFull = node.full !== null && /ENOSPC|SQLITE_FULL|is full/.test(error.message);
    const isLocked = /has the write lock of/.test(error.message);
    if (!isFull && !isLocked && error.message !== IO_ERROR) {
      this.checks.problems.push(`${node.name} stopped by itself: ${error.stack}`);
      return;
    }
    node.crash({ power: null, downMs: RESTART_MS, interrupt: 0 });
  }

  async #until(condition: () => boolean, ms: number): Promise<boolean> {
    const { world, checks } = this;
    const end = world.now + ms;
    // Work that goes on in pieces, without simulated time, leaves the heap empty for a while.
    for (let idle = 0; world.now <= end && idle < IDLE_STEPS && checks.problems.length === 0;) {
      if (condition()) return true;
      idle = (await world.step()) ? 0 : idle + 1;
      checks.after();
    }
    return checks.problems.length === 0 && condition();
  }

  // ------------------------------------------------------------------------------------------ actions

  #act({ action, seed }: Planned): void {
    const random = new Random(seed);
    const { world, network } = this;
    if (action.kind !== "write") world.log(JSON.stringify(action));
    switch (action.kind) {
      case "write":
        return this.#write(action, random);
      case "wait":
        return this.#wait(this.nodes[action.node]!);
      case "cut": {
        const links = action.links.map(([a, b]) => [this.nodes[a]!.peerId, this.nodes[b]!.peerId] as const);
        for (const [a, b] of links) network.cut(a, b);
        world.after(action.ms, () => {
          for (const [a, b] of links) network.heal(a, b);
        });
        return;
      }
      case "break":
        return network.breakLink(this.nodes[action.a]!.peerId, this.nodes[action.b]!.peerId);
      case "weather":
        network.profile = action.profile;
        world.after(action.ms, () => {
          if (network.profile === action.profile) network.profile = this.plan.network;
        });
        return;
      case "crash":
        for (const number of action.nodes) {
          const { power, downMs, looks } = action;
          this.nodes[number]!.crash({ power, downMs, interrupt: looks });
          this.#crashes++;
        }
        return;
      case "pause": {
        const node = this.nodes[action.node]!;
        node.pause();
        world.after(action.ms, () => node.resume());
        return;
      }
      case "slow":
        this.nodes[action.node]!.slow = { until: world.now + action.ms, ms: action.writeMs };
        return;
      case "full":
        return this.nodes[action.node]!.fill(action.what, world.now + action.ms);
      case "error":
        this.nodes[action.node]!.broken = { what: action.what, written: action.written };
        return;
      case "clock":
        this.nodes[action.node]!.wallJump += action.jumpMs;
        return;
      case "join": {
        const node = this.nodes[action.node]!;
        void writeIdentity(node.dataDir, action.node).then(() => node.start());
        return;
      }
      case "migrate": {
        const node = this.nodes[action.node]!;
        if (!node.writable) return;
        if (!node.application.isOpen) node.application.open();
        if (!node.application.isOpen || node.application.holds) return;
        const done = node.application.migrate(action.what, random);
        world.log(`${node.name} ${done ? "migrated" : "did not migrate"}: ${action.what}`);
        return;
      }
      case "maintain": {
        const node = this.nodes[action.node]!;
        if (!node.writable || !node.application.isOpen || node.application.holds) return;
        node.application.maintain(action.sql);
        node.committed();
        return;
      }
      case "transfer": {
        const member = this.nodes[action.node]!.member;
        const group = member?.runtime.groups[action.shard];
        const leader = this.nodes.find((n) => n.member?.runtime.groups[action.shard]?.raft.isLeader);
        if (group !== undefined && leader !== undefined)
          leader.member!.runtime.groups[action.shard]!.raft.transferLeader(group.raft.id);
      }
    }
  }

  #write(action: Extract<Action, { kind: "write" }>, random: Random, attempts = 0): void {
    const node = this.nodes[action.node]!;
    if (action.looks > 0 && attempts === 0 && node.member !== null) {
      node.interruptAt(action.looks, () => this.#write({ ...action, looks: 0 }, random));
      return;
    }
    const { application } = node;
    if (!node.writable) return;
    if (!application.isOpen) application.open();
    if (!application.isOpen || application.holds) return;
    if (!application.begin(action.work)) {
      if (attempts < 50) this.world.after(RETRY_MS, () => this.#write(action, random, attempts + 1));
      return;
    }
    if (action.work === undefined) {
      if (action.bulk) application.bulk(random);
      for (let i = 0; i < action.statements; i++) application.statement(random);
    } else
      for (const wrong of application.perform(action.work))
        this.checks.problems.push(`the application of ${node.name}: ${wrong}`);
    const { fileEpoch } = node;
    const finish = (): void => {
      if (node.fileEpoch !== fileEpoch || !application.holds) return; // its machine crashed before the end
      const transaction = application.finish(!action.rollback);
      if (transaction === null) return;
      this.history.add(transaction);
      node.committed();
      if (application.keyless && random.chance(0.03)) application.maintain("VACUUM");
    };
    if (action.holdMs > 0) this.world.after(action.holdMs, finish);
    else finish();
  }

  #wait(node: SimNode): void {
    const running = node.node;
    if (running === null) return;
    const { generation } = node;
    const number = node.options.number;
    const newest = this.history.newest(number);
    void running.api.wait({ all: false, position: null, here: false, timeoutMs: WAIT_MS }).then(
      ({ done }) => {
        const member = node.member;
        if (!done || node.generation !== generation || member === null) return;
        this.world.log(`${node.name} confirms ${newest}`);
        this.history.confirm(number, newest);
        this.checks.confirmed(member.replica.replica.positions());
      },
      () => {}, // the process died
    );
  }

  // ------------------------------------------------------------------------------------------ the end

  #heal(): void {
    this.world.log("everything heals");
    this.network.healAll();
    this.network.profile = CALM;
    for (const node of this.nodes) node.heal();
  }

  /** Nodes that belong to the cluster by now. */
  get present(): SimNode[] {
    return this.nodes.filter((n) => n.generation > 0);
  }

  get settled(): boolean {
    return this.#unsettled().length === 0;
  }

  /** Why it is not at rest. */
  #unsettled(): string[] {
    return unsettled(this.present);
  }

  async #stop(): Promise<void> {
    this.checks.close();
    for (const node of this.nodes) {
      let stopped = false;
      void node.stop().then(() => {
        stopped = true;
      });
      for (let i = 0; i < IDLE_STEPS && !stopped; i++) await this.world.step();
      if (!stopped) this.checks.problems.push(`${node.name} does not stop`);
    }
    this.world.close();
  }
}

const settingsOf = ({ merge, foreignKeys, idBlock }: Generated) => ({
  ...{ merge: forAll(merge), foreignKeys, idBlock: forAll(idBlock) },
});

const transactionsOf = ({ shards, transactions }: Pick<Plan, "shards" | "transactions">): "whole" | "row" =>
  shards === 1 ? "whole" : (transactions ?? "row");
