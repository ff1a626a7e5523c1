/** Three nodes, and the steps of a course of events that a test writes down: one seed, one course, as in simulation.ts. */
import { rmSync } from "node:fs";
import { Random } from "../../src/base/random.ts";
import { type Image, imageOf, imageOfDatabase, restore, restoreDatabase } from "./disk.ts";
import { Network } from "./network.ts";
import { unsettled } from "./rest.ts";
import { SimNode, type SimNodeOptions } from "./sim-node.ts";
import { Simulation } from "./simulation.ts";
import { peerIdOfNode, scratch } from "./template.ts";
import { World } from "./world.ts";

const MEMBERS = 3;
const SETTLE_MS = 60_000;
const DOWN = { power: null, downMs: 10, interrupt: 0 } as const;

export type ScenarioLimits = Pick<SimNodeOptions, "replaceAfterMs">;

export interface ScenarioResult {
  readonly problems: readonly string[];
  readonly trace: readonly string[];
}

/** File and data directory of a machine. */
export interface Disk {
  readonly data: Image;
  readonly file: Image;
}

export abstract class Scenario {
  readonly world: World;
  readonly network: Network;
  readonly random: Random;
  readonly folder = scratch("scenario");
  readonly nodes: SimNode[] = [];
  readonly problems: string[] = [];
  /** Tags of rows that a node confirmed. */
  readonly confirmed = new Map<number, string>();
  readonly #verbose: boolean;
  readonly #shards: number;
  readonly #limits: ScenarioLimits;
  #rows = 0;

  constructor(seed: number, verbose: boolean, limits: ScenarioLimits = {}) {
    this.#verbose = verbose;
    this.#limits = limits;
    this.world = new World(seed, verbose);
    this.network = new Network(this.world);
    this.random = new Random(seed ^ 0x6d616368);
    this.#shards = this.random.pick([1, 1, 4]);
  }

  protected abstract act(): Promise<void>;

  /** Before a message leaves. */
  protected onSend(_node: SimNode, _message: Uint8Array): void {}

  /** The hello that a node shows. */
  protected hello(_node: SimNode, bytes: Uint8Array): Uint8Array {
    return bytes;
  }

  /** Before each event. */
  protected onStep(): void {}

  /** A peer sent bytes that are no message. */
  protected onRefused(node: SimNode, from: string, error: unknown): void {
    this.problems.push(`${node.name} was sent what is no message by ${from}: ${String(error)}`);
  }

  async play(): Promise<ScenarioResult> {
    try {
      await this.#prepare();
      await this.act();
    } catch (error) {
      this.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    await this.#stop();
    return { problems: this.problems, trace: this.world.trace };
  }

  async #prepare(): Promise<void> {
    const formed = { shards: this.#shards, transactions: "whole", members: MEMBERS } as const;
    await Simulation.copyFormed(formed, this.folder);
    for (let i = 0; i < MEMBERS; i++) this.nodes.push(await this.node(i, this.folder));
    for (const node of this.nodes) node.begin();
    await this.settle(this.nodes);
    const isVoter = (node: SimNode): boolean => node.member?.runtime.isVoter(node.peerId) === true;
    await this.until(() => this.nodes.every(isVoter), "all nodes vote in all shards");
  }

  async node(
    number: number,
    folder: string,
    address?: string,
    more: Partial<SimNodeOptions> = {},
  ): Promise<SimNode> {
    return new SimNode(
      {
        ...{
          number,
          folder,
          peerId: await peerIdOfNode(number),
          shards: this.#shards,
          transactions: "whole",
        },
        ...{ keepEntries: this.random.pick([4, 2000]), rate: 1, eventLoss: 0, synchronous: "NORMAL" },
        ...(address === undefined ? {} : { address }),
        ...this.#limits,
        ...more,
      },
      {
        ...{ world: this.world, network: this.network, random: this.world.random.fork() },
        verbose: this.#verbose,
        hooks: {
          onSend: (node, message) => this.onSend(node, message),
          onHello: (node, bytes) => this.hello(node, bytes),
          onFailure: (node, error) =>
            void this.problems.push(`${node.name} stopped by itself: ${error.stack}`),
          onRefused: (node, from, error) => this.onRefused(node, from, error),
          onStarted: () => {},
          onPowerLost: () => {},
        },
      },
    );
  }

  // ------------------------------------------------------------------------------------------ steps

  image(node: SimNode): Disk {
    return { data: imageOf(node.dataDir), file: imageOfDatabase(node.file) };
  }

  put(node: SimNode, { data, file }: Disk): void {
    this.world.log(`${node.name} gets an older image of its disk`);
    node.application.close();
    restore(data, node.dataDir);
    restoreDatabase(file, node.file);
    node.application.open();
  }

  async down(node: SimNode): Promise<void> {
    node.keepDown = true;
    node.crash(DOWN);
    await this.until(() => node.state === "down", `${node.name} ends`);
  }

  start(node: SimNode): void {
    node.keepDown = false;
    node.start();
  }

  async up(node: SimNode): Promise<void> {
    this.start(node);
    await this.until(() => node.node?.api.notReady() === null, `${node.name} is ready`);
  }

  /** A row whose confirmation counts. `ms`: how long it may take; absent: it must be confirmed. */
  async write(node: SimNode, ms?: number): Promise<void> {
    const [key, tag] = this.pending(node);
    if (node.node === null) return;
    const done = await this.confirms(node, ms ?? SETTLE_MS);
    this.world.log(`${tag}: ${done ? "confirmed" : "not confirmed"}`);
    if (done) this.confirmed.set(key, tag);
    else if (ms === undefined) throw new Error(`${node.name} does not confirm a row`);
  }

  /** Writes a row, without waiting for it. Its key and its tag. */
  pending(node: SimNode): readonly [key: number, tag: string] {
    const row = ++this.#rows;
    const tag = `${row} of ${node.name}`;
    node.application.maintain(`INSERT OR REPLACE INTO kv VALUES(${100_000 + row}, '${tag}')`);
    node.committed();
    return [100_000 + row, tag];
  }

  /** What `marmot wait` says. */
  async confirms(node: SimNode, timeoutMs = 2000): Promise<boolean> {
    let done: boolean | null = null;
    if (node.node === null) return false;
    void node.node.api.wait({ all: false, timeoutMs, position: null, here: true }).then(
      (result) => (done = result.done),
      () => (done = false),
    );
    await this.until(() => done !== null, `${node.name} answers a wait`);
    return done === true;
  }

  async pass(ms: number): Promise<void> {
    const end = this.world.now + ms;
    await this.until(() => this.world.now >= end, "time passes");
  }

  async settle(nodes: readonly SimNode[]): Promise<void> {
    await this.until(
      () => unsettled(nodes).length === 0,
      () => `rest: ${unsettled(nodes).join("; ")}`,
    );
  }

  async until(condition: () => boolean, what: string | (() => string)): Promise<void> {
    const end = this.world.now + SETTLE_MS;
    for (let idle = 0; !condition();) {
      if (this.problems.length > 0) throw new Error("stopped at the first problem");
      if (this.world.now > end || idle > 10_000)
        throw new Error(`not in time: ${typeof what === "string" ? what : what()}`);
      this.onStep();
      idle = (await this.world.step()) ? 0 : idle + 1;
    }
  }

  /** Every confirmed row is in the files of these nodes, and these are equal. */
  check(nodes: readonly SimNode[]): void {
    const contents = nodes.map((node) => {
      const db = node.observe();
      try {
        const rows = db.prepare("SELECT k, v FROM kv WHERE k > 100000 ORDER BY k").all();
        return new Map(rows.map(({ k, v }) => [Number(k), String(v)]));
      } finally {
        db.close();
      }
    });
    nodes.forEach((node, i) => {
      for (const [key, tag] of this.confirmed)
        if (contents[i]!.get(key) !== tag) this.problems.push(`${node.name} lacks the confirmed row ${tag}`);
      if (JSON.stringify([...contents[i]!]) !== JSON.stringify([...contents[0]!]))
        this.problems.push(`${node.name} differs from ${nodes[0]!.name}`);
    });
  }

  async #stop(): Promise<void> {
    for (const node of this.nodes) {
      let stopped = false;
      void node.stop().then(() => {
        stopped = true;
      });
      for (let i = 0; i < 10_000 && !stopped; i++) await this.world.step();
    }
    this.world.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
