/** A case on three whole nodes in simulated time: everything of a cluster but the wire and the processes. */
import { Random } from "../../src/base/random.ts";
import { rmSync } from "node:fs";
import { forAll } from "../../src/change/per-table.ts";
import { deviations } from "../node/deviations.ts";
import { wrongChecksums } from "../simulation/checksums.ts";
import { CALM, Network } from "../simulation/network.ts";
import { unsettled } from "../simulation/rest.ts";
import { SimNode } from "../simulation/sim-node.ts";
import { peerIdOfNode, scratch, writeIdentity } from "../simulation/template.ts";
import { World } from "../simulation/world.ts";
import { makeFile, PlainApplication } from "./application.ts";
import { type Case, migrates, NODES, nodesOf } from "./case.ts";
import { type Content, contentOf, differences, schemaOf, wrongSearches } from "./content.ts";
import { withFunctions } from "./functions.ts";
import { type Expected, expectedOf, wrongAnswers } from "./plain.ts";
import type { Verdict } from "./verdict.ts";

/** Simulated milliseconds within which all must have come to rest. */
const SETTLE_MS = 30_000;
const IDLE_STEPS = 10_000;
/** Events between two looks at whether all is at rest: a look costs more than an event. */
const LOOK_EVERY = 4;

export const runSimulated = (it: Case): Promise<Verdict> =>
  withFunctions(it.functions === true, () => simulate(it));

async function simulate(it: Case): Promise<Verdict> {
  const cluster = new SimulatedCluster(it);
  try {
    return await cluster.run();
  } finally {
    await cluster.stop();
  }
}

class SimulatedCluster {
  readonly #case: Case;
  readonly #migrates: boolean;
  readonly #folder = scratch("differential");
  readonly #world: World;
  readonly #network: Network;
  readonly #nodes: SimNode[] = [];
  readonly #applications: PlainApplication[] = [];
  readonly #problems: string[] = [];

  constructor(it: Case) {
    this.#case = it;
    this.#migrates = it.steps.some(migrates);
    this.#world = new World(it.seed, false);
    this.#network = new Network(this.#world);
    this.#network.profile = CALM;
  }

  async run(): Promise<Verdict> {
    const it = this.#case;
    const problems = this.#problems;
    makeFile(`${this.#folder}/n0.db`, it);
    const expected = expectedOf(it);
    if (expected.refused !== null) return { problems, refused: expected.refused };
    if (!(await this.#form())) return { problems, refused: null };
    for (const node of this.#nodes) this.#applications.push(new PlainApplication(node.file, it));
    const random = new Random(it.seed);
    for (const [i, step] of it.steps.entries()) {
      const shown = i === 0 ? expected.first : expected.contents[i - 1]!;
      if (step.settled && !(await this.#settle(`before step ${i}`, shown))) break;
      const seen = random.below(NODES);
      if (step.settled) problems.push(...this.#compare(seen, shown, `before step ${i}`));
      for (const number of nodesOf(step)) {
        const answers = this.#applications[number]!.run(step);
        problems.push(...wrongAnswers({ step, number: i, node: number }, expected.answers[i]!, answers));
        this.#nodes[number]!.committed();
      }
      if (!step.settled) for (let n = random.below(6); n > 0; n--) await this.#world.step();
      if (problems.length > 0) break;
    }
    const last = expected.contents.at(-1) ?? expected.first;
    if (problems.length === 0 && (await this.#settle("at the end", last))) {
      for (const node of this.#nodes.keys()) problems.push(...this.#compare(node, last, "at the end"));
      if (problems.length === 0) this.#judge(expected);
    }
    return { problems, refused: null };
  }

  async #form(): Promise<boolean> {
    const { settings } = this.#case;
    for (let number = 0; number < NODES; number++) {
      await writeIdentity(`${this.#folder}/n${number}.db.marmot`, number);
      const options = {
        ...{ number, folder: this.#folder, peerId: await peerIdOfNode(number), shards: settings.shards },
        ...{ transactions: settings.transactions, keepEntries: 2000, rate: 1, eventLoss: 0 },
        synchronous: "NORMAL" as const,
        settings: {
          ...{ merge: forAll(settings.merge), foreignKeys: settings.foreignKeys },
          idBlock: forAll(settings.idBlock),
        },
      };
      const hooks = {
        onSend: () => {},
        onFailure: (node: SimNode, error: Error) =>
          void this.#problems.push(`${node.name} stopped by itself: ${error.stack}`),
        onStarted: () => {},
        onRefused: (node: SimNode, from: string, error: unknown) =>
          void this.#problems.push(`${node.name} was sent what is no message by ${from}: ${String(error)}`),
        onPowerLost: () => {},
      };
      const parts = {
        world: this.#world,
        network: this.#network,
        random: this.#world.random.fork(),
        verbose: false,
        hooks,
      };
      this.#nodes.push(new SimNode(options, parts));
    }
    for (const node of this.#nodes) node.begin();
    return this.#settle("while the cluster forms", null);
  }

  /** `expected`: the contents of every file; after a schema change they are also waited for. */
  async #settle(when: string, expected: Content | null): Promise<boolean> {
    const world = this.#world;
    const end = world.now + SETTLE_MS;
    for (let idle = 0; world.now <= end && idle < IDLE_STEPS && this.#problems.length === 0;) {
      if (unsettled(this.#nodes).length === 0 && this.#hasSchema(expected)) return true;
      for (let i = 0; i < LOOK_EVERY; i++) idle = (await world.step()) ? 0 : idle + 1;
    }
    const settled = unsettled(this.#nodes).length === 0;
    if (!settled && this.#problems.length === 0)
      this.#problems.push(`no rest ${when}: ${unsettled(this.#nodes).join("; ")}`);
    return settled && this.#problems.length === 0; // with another schema, which comparing tells
  }

  #hasSchema(expected: Content | null): boolean {
    if (!this.#migrates || expected === null) return true;
    const wanted = expected.schema.join("\n");
    return this.#applications.every(({ db }) => schemaOf(db).join("\n") === wanted);
  }

  #compare(node: number, expected: Content, when: string): string[] {
    return differences(expected, contentOf(this.#applications[node]!.db), `n${node} ${when}`);
  }

  /** What must hold besides: sound files, replicas that are what the files show, and nothing that anybody takes for a conflict. */
  #judge({ searches, integrity }: Expected): void {
    const problems = this.#problems;
    for (const [i, node] of this.#nodes.entries()) {
      const { db } = this.#applications[i]!;
      const { replica, db: replicaDb } = node.member!.replica;
      problems.push(...wrongSearches(db, this.#case.words, searches, `n${i}`));
      const checked = this.#applications[i]!.integrity();
      if (checked !== integrity) problems.push(`the file of n${i}: ${checked}; plain SQLite: ${integrity}`);
      const { integrity_check } = replicaDb.prepare("PRAGMA integrity_check").get() as {
        integrity_check: string;
      };
      if (integrity_check !== "ok") problems.push(`the replica of n${i}: ${integrity_check}`);
      const appDb = node.observe();
      try {
        const shapes = [...replica.shapes.values()];
        const wrong = deviations({
          appDb,
          replica: replicaDb,
          shapes,
          encoding: replica.settings.encoding,
          session: node.member!.pipeline.session,
          source: replica,
          returnsLater: () => false,
        });
        problems.push(...wrong.map((w) => `n${i} is not its replica: ${w}`));
      } finally {
        appDb.close();
      }
      problems.push(...wrongChecksums(node.member!.replica).map((w) => `n${i}: ${w}`));
      const journal = replica.journal.list(10);
      if (journal.length > 0)
        problems.push(
          `n${i} has ${journal.length} conflicts, the first: ${Bun.inspect(journal[0], { compact: true })}`,
        );
    }
  }

  async stop(): Promise<void> {
    for (const application of this.#applications) application.close();
    for (const node of this.#nodes) {
      let stopped = false;
      void node.stop().then(() => {
        stopped = true;
      });
      for (let i = 0; i < IDLE_STEPS && !stopped; i++) await this.#world.step();
      if (!stopped) throw new Error(`${node.name} does not stop`);
    }
    this.#world.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
