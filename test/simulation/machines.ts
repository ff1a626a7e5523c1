/**
 * Machines that lose their past: one of three nodes is rolled back to an older image of its disk, runs twice, or loses the
 * end of its log. The node must stop before its votes count; the others must lose no confirmed row. One seed, one course
 * of events, as in simulation.ts.
 */
import { rmSync } from "node:fs";
import { Random } from "../../src/base/random.ts";
import { LIFE_REFUSALS } from "../../src/replication/lives/hello-check.ts";
import { type Image, imageOf, imageOfDatabase, restore, restoreDatabase } from "./disk.ts";
import { Network } from "./network.ts";
import { unsettled } from "./rest.ts";
import { SimNode } from "./sim-node.ts";
import { Simulation } from "./simulation.ts";
import { peerIdOfNode, scratch } from "./template.ts";
import { World } from "./world.ts";

const MEMBERS = 3;
const SETTLE_MS = 60_000;
/** Members tell each other the starts that they have seen, within this time. */
const LIVES_MS = 1500;
const DOWN = { power: null, downMs: 10, interrupt: 0 } as const;

export const FAULTS = [
  "rolled back",
  "rolled back while the holder is down",
  "live image",
  "cloned",
  "log end lost",
] as const;
export type MachineFault = (typeof FAULTS)[number];

export interface MachineResult {
  readonly fault: MachineFault;
  readonly problems: readonly string[];
  readonly trace: readonly string[];
  /** The state in which the machine ended; "": it replicates. */
  readonly halted: string;
}

/** File and data directory of a machine. */
interface Disk {
  readonly data: Image;
  readonly file: Image;
}

export async function loseThePast(seed: number, verbose = false): Promise<MachineResult> {
  return new MachineRun(seed, verbose).run();
}

class MachineRun {
  readonly #world: World;
  readonly #network: Network;
  readonly #random: Random;
  readonly #folder = scratch("machines");
  readonly #verbose: boolean;
  readonly #shards: number;
  readonly #nodes: SimNode[] = [];
  readonly #problems: string[] = [];
  /** Tags of rows that a node confirmed. */
  readonly #confirmed = new Map<number, string>();
  readonly fault: MachineFault;
  #rows = 0;

  constructor(seed: number, verbose: boolean) {
    this.#verbose = verbose;
    this.#world = new World(seed, verbose);
    this.#network = new Network(this.#world);
    this.#random = new Random(seed ^ 0x6d616368);
    this.fault = FAULTS[seed % FAULTS.length]!;
    this.#shards = this.#random.pick([1, 1, 4]);
  }

  async run(): Promise<MachineResult> {
    let halted = "";
    try {
      await this.#prepare();
      halted = await this.#act();
    } catch (error) {
      this.#problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    await this.#stop();
    return { fault: this.fault, problems: this.#problems, trace: this.#world.trace, halted };
  }

  async #prepare(): Promise<void> {
    const formed = { shards: this.#shards, transactions: "whole", members: MEMBERS } as const;
    await Simulation.copyFormed(formed, this.#folder);
    for (let i = 0; i < MEMBERS; i++) this.#nodes.push(await this.#node(i, this.#folder));
    for (const node of this.#nodes) node.begin();
    await this.#settle(this.#nodes);
    const isVoter = (node: SimNode): boolean => node.member?.runtime.isVoter(node.peerId) === true;
    await this.#until(() => this.#nodes.every(isVoter), "all nodes vote in all shards");
  }

  async #node(number: number, folder: string, address?: string): Promise<SimNode> {
    const wrong = (text: string): void => void this.#problems.push(text);
    return new SimNode(
      {
        ...{
          number,
          folder,
          peerId: await peerIdOfNode(number),
          shards: this.#shards,
          transactions: "whole",
        },
        ...{ keepEntries: this.#random.pick([4, 2000]), rate: 1, eventLoss: 0, synchronous: "NORMAL" },
        ...(address === undefined ? {} : { address }),
      },
      {
        ...{ world: this.#world, network: this.#network, random: this.#world.random.fork() },
        verbose: this.#verbose,
        hooks: {
          onSend: () => {},
          onFailure: (node, error) => wrong(`${node.name} stopped by itself: ${error.stack}`),
          onRefused: (node, from, error) =>
            wrong(`${node.name} was sent what is no message by ${from}: ${String(error)}`),
          onStarted: () => {},
          onPowerLost: () => {},
        },
      },
    );
  }

  // ------------------------------------------------------------------------------------------ faults

  /** Returns the state in which the machine ends. */
  async #act(): Promise<string> {
    const random = this.#random;
    const victim = random.pick(this.#nodes);
    const others = this.#nodes.filter((n) => n !== victim);
    switch (this.fault) {
      case "rolled back": {
        await this.#down(victim);
        const disk = this.#image(victim);
        await this.#up(victim);
        await this.#write(random.pick(this.#nodes));
        await this.#write(victim);
        await this.#down(victim);
        this.#put(victim, disk);
        return this.#judge(victim, others, true);
      }
      case "rolled back while the holder is down":
        return this.#withoutHolder(victim, others);
      case "live image": {
        const disk = this.#image(victim);
        for (let i = random.between(1, 4); i > 0; i--) await this.#write(random.pick(this.#nodes));
        await this.#down(victim);
        this.#put(victim, disk);
        return this.#judge(victim, others, true);
      }
      case "cloned":
        return this.#clone(victim, others);
      case "log end lost": {
        for (let i = random.between(1, 4); i > 0; i--) await this.#write(random.pick(this.#nodes));
        await this.#down(victim);
        rmSync(`${victim.dataDir}/log.db-wal`);
        // Without the entries since the last checkpoint; if there were none, nothing was lost.
        return this.#judge(victim, others, false);
      }
    }
  }

  async #withoutHolder(victim: SimNode, others: readonly SimNode[]): Promise<string> {
    const random = this.#random;
    const [holder, witness] = (random.chance(0.5) ? others : others.toReversed()) as [SimNode, SimNode];
    await this.#down(victim);
    const disk = this.#image(victim);
    // The witness may know of the victim's next start from the holder alone.
    const directions = random.chance(0.5) ? [[victim, witness] as const, [witness, victim] as const] : [];
    for (const [from, to] of directions) this.#network.cut(from.peerId, to.peerId);
    this.#start(victim);
    // A member that is down when the victim starts, and hears nothing of that start, cannot tell.
    await this.#pass(LIVES_MS);
    await this.#down(witness);
    for (const [from, to] of directions) this.#network.heal(from.peerId, to.peerId);
    await this.#write(random.pick([holder, victim]));
    await this.#down(holder);
    await this.#down(victim);
    this.#put(victim, disk);
    this.#start(victim);
    this.#start(witness);
    await this.#pass(random.between(3000, 12_000));
    await this.#write(witness, 2000);
    this.#start(holder);
    return this.#judge(victim, others, true);
  }

  async #clone(victim: SimNode, others: readonly SimNode[]): Promise<string> {
    const random = this.#random;
    const isLive = random.chance(0.5);
    if (!isLive) await this.#down(victim);
    const disk = this.#image(victim);
    if (!isLive) await this.#up(victim);
    const clone = await this.#node(victim.options.number, `${this.#folder}/clone`, "clone");
    const move = (image: Image): Image =>
      new Map(
        [...image].map(([path, content]) => [path.replace(this.#folder, `${this.#folder}/clone`), content]),
      );
    restore(move(disk.data), clone.dataDir);
    restoreDatabase(move(disk.file), clone.file);
    this.#nodes.push(clone);
    clone.begin();
    await this.#pass(random.between(500, 8000));
    await this.#write(clone, 3000);
    await this.#write(random.pick(others));
    await this.#settle(others);
    this.#check(others);
    const states = [victim, clone].map((n) => this.#stateOf(n));
    if (states.every((state) => state === "")) this.#problems.push("original and clone both replicate");
    return states.find((state) => state !== "") ?? "";
  }

  /** `mustHalt`: the machine cannot have all that it promised. */
  async #judge(victim: SimNode, others: readonly SimNode[], mustHalt: boolean): Promise<string> {
    if (victim.state === "down") this.#start(victim);
    await this.#pass(this.#random.between(100, 5000));
    if (this.#random.chance(0.5)) await this.#write(victim, 2000);
    await this.#write(others[0]!);
    await this.#settle(others);
    const halted = this.#stateOf(victim);
    if (mustHalt && halted === "")
      this.#problems.push(`${victim.name} is not halted: ${victim.node?.api.notReady() ?? victim.state}`);
    if (halted === "" && !mustHalt) await this.#settle(this.#nodes);
    this.#check(halted === "" ? this.#nodes : others);
    return halted;
  }

  #stateOf(node: SimNode): string {
    const reason = node.node?.api.notReady() ?? "";
    return LIFE_REFUSALS.find((code) => reason.startsWith(code)) ?? "";
  }

  // ------------------------------------------------------------------------------------------ steps

  #image(node: SimNode): Disk {
    return { data: imageOf(node.dataDir), file: imageOfDatabase(node.file) };
  }

  #put(node: SimNode, { data, file }: Disk): void {
    this.#world.log(`${node.name} gets an older image of its disk`);
    node.application.close();
    restore(data, node.dataDir);
    restoreDatabase(file, node.file);
    node.application.open();
  }

  async #down(node: SimNode): Promise<void> {
    node.keepDown = true;
    node.crash(DOWN);
    await this.#until(() => node.state === "down", `${node.name} ends`);
  }

  #start(node: SimNode): void {
    node.keepDown = false;
    node.start();
  }

  async #up(node: SimNode): Promise<void> {
    this.#start(node);
    await this.#until(() => node.node?.api.notReady() === null, `${node.name} is ready`);
  }

  /** A row whose confirmation counts. `ms`: how long it may take; absent: it must be confirmed. */
  async #write(node: SimNode, ms?: number): Promise<void> {
    const row = ++this.#rows;
    const tag = `${row} of ${node.name}`;
    node.application.maintain(`INSERT OR REPLACE INTO kv VALUES(${100_000 + row}, '${tag}')`);
    node.committed();
    if (node.node === null) return;
    let done: boolean | null = null;
    void node.node.api.wait({ all: false, position: null, here: false, timeoutMs: ms ?? SETTLE_MS }).then(
      (result) => (done = result.done),
      () => (done = false),
    );
    await this.#until(() => done !== null, `${node.name} answers a wait`);
    this.#world.log(`${tag}: ${done === true ? "confirmed" : "not confirmed"}`);
    if (done === true) this.#confirmed.set(100_000 + row, tag);
    else if (ms === undefined) throw new Error(`${node.name} does not confirm a row`);
  }

  async #pass(ms: number): Promise<void> {
    const end = this.#world.now + ms;
    await this.#until(() => this.#world.now >= end, "time passes");
  }

  async #settle(nodes: readonly SimNode[]): Promise<void> {
    await this.#until(
      () => unsettled(nodes).length === 0,
      () => `rest: ${unsettled(nodes).join("; ")}`,
    );
  }

  async #until(condition: () => boolean, what: string | (() => string)): Promise<void> {
    const end = this.#world.now + SETTLE_MS;
    for (let idle = 0; !condition();) {
      if (this.#problems.length > 0) throw new Error("stopped at the first problem");
      if (this.#world.now > end || idle > 10_000)
        throw new Error(`not in time: ${typeof what === "string" ? what : what()}`);
      idle = (await this.#world.step()) ? 0 : idle + 1;
    }
  }

  /** Every confirmed row is in the files of these nodes, and these are equal. */
  #check(nodes: readonly SimNode[]): void {
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
      for (const [key, tag] of this.#confirmed)
        if (contents[i]!.get(key) !== tag) this.#problems.push(`${node.name} lacks the confirmed row ${tag}`);
      if (JSON.stringify([...contents[i]!]) !== JSON.stringify([...contents[0]!]))
        this.#problems.push(`${node.name} differs from ${nodes[0]!.name}`);
    });
  }

  async #stop(): Promise<void> {
    for (const node of this.#nodes) {
      let stopped = false;
      void node.stop().then(() => {
        stopped = true;
      });
      for (let i = 0; i < 10_000 && !stopped; i++) await this.#world.step();
    }
    this.#world.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
