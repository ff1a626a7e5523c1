/**
 * Machines that lose their past: one of three nodes is rolled back to an older image of its disk, runs twice, or loses the
 * end of its log. The node must stop before its votes count; the others must lose no confirmed row. One seed, one course
 * of events, as in simulation.ts.
 */
import { rmSync } from "node:fs";
import { LIFE_REFUSALS } from "../../src/replication/lives/hello-check.ts";
import { type Image, restore, restoreDatabase } from "./disk.ts";
import { Scenario, type ScenarioResult } from "./scenario.ts";
import type { SimNode } from "./sim-node.ts";

/** Members tell each other the starts that they have seen, within this time. */
const LIVES_MS = 1500;

export const FAULTS = [
  "rolled back",
  "rolled back while the holder is down",
  "live image",
  "cloned",
  "log end lost",
] as const;
export type MachineFault = (typeof FAULTS)[number];

export interface MachineResult extends ScenarioResult {
  readonly fault: MachineFault;
  /** The state in which the machine ended; "": it replicates. */
  readonly halted: string;
}

export async function loseThePast(seed: number, verbose = false): Promise<MachineResult> {
  const run = new MachineRun(seed, verbose);
  const { problems, trace } = await run.play();
  return { fault: run.fault, problems, trace, halted: run.halted };
}

class MachineRun extends Scenario {
  readonly fault: MachineFault;
  halted = "";

  constructor(seed: number, verbose: boolean) {
    super(seed, verbose);
    this.fault = FAULTS[seed % FAULTS.length]!;
  }

  // ------------------------------------------------------------------------------------------ faults

  /** Returns the state in which the machine ends. */
  async act(): Promise<void> {
    this.halted = await this.#lose();
  }

  async #lose(): Promise<string> {
    const random = this.random;
    const victim = random.pick(this.nodes);
    const others = this.nodes.filter((n) => n !== victim);
    switch (this.fault) {
      case "rolled back": {
        await this.down(victim);
        const disk = this.image(victim);
        await this.up(victim);
        await this.write(random.pick(this.nodes));
        await this.write(victim);
        await this.down(victim);
        this.put(victim, disk);
        return this.#judge(victim, others, true);
      }
      case "rolled back while the holder is down":
        return this.#withoutHolder(victim, others);
      case "live image": {
        const disk = this.image(victim);
        for (let i = random.between(1, 4); i > 0; i--) await this.write(random.pick(this.nodes));
        await this.down(victim);
        this.put(victim, disk);
        return this.#judge(victim, others, true);
      }
      case "cloned":
        return this.#clone(victim, others);
      case "log end lost": {
        for (let i = random.between(1, 4); i > 0; i--) await this.write(random.pick(this.nodes));
        await this.down(victim);
        rmSync(`${victim.dataDir}/log.db-wal`);
        // Without the entries since the last checkpoint; if there were none, nothing was lost.
        return this.#judge(victim, others, false);
      }
    }
  }

  async #withoutHolder(victim: SimNode, others: readonly SimNode[]): Promise<string> {
    const random = this.random;
    const [holder, witness] = (random.chance(0.5) ? others : others.toReversed()) as [SimNode, SimNode];
    await this.down(victim);
    const disk = this.image(victim);
    // The witness may know of the victim's next start from the holder alone.
    const directions = random.chance(0.5) ? [[victim, witness] as const, [witness, victim] as const] : [];
    for (const [from, to] of directions) this.network.cut(from.peerId, to.peerId);
    this.start(victim);
    // A member that is down when the victim starts, and hears nothing of that start, cannot tell.
    await this.pass(LIVES_MS);
    await this.down(witness);
    for (const [from, to] of directions) this.network.heal(from.peerId, to.peerId);
    await this.write(random.pick([holder, victim]));
    await this.down(holder);
    await this.down(victim);
    this.put(victim, disk);
    this.start(victim);
    this.start(witness);
    await this.pass(random.between(3000, 12_000));
    await this.write(witness, 2000);
    this.start(holder);
    return this.#judge(victim, others, true);
  }

  async #clone(victim: SimNode, others: readonly SimNode[]): Promise<string> {
    const random = this.random;
    const isLive = random.chance(0.5);
    if (!isLive) await this.down(victim);
    const disk = this.image(victim);
    if (!isLive) await this.up(victim);
    const clone = await this.node(victim.options.number, `${this.folder}/clone`, "clone");
    const move = (image: Image): Image =>
      new Map(
        [...image].map(([path, content]) => [path.replace(this.folder, `${this.folder}/clone`), content]),
      );
    restore(move(disk.data), clone.dataDir);
    restoreDatabase(move(disk.file), clone.file);
    this.nodes.push(clone);
    clone.begin();
    await this.pass(random.between(500, 8000));
    await this.write(clone, 3000);
    await this.write(random.pick(others));
    await this.settle(others);
    this.check(others);
    const states = [victim, clone].map((n) => this.#stateOf(n));
    if (states.every((state) => state === "")) this.problems.push("original and clone both replicate");
    return states.find((state) => state !== "") ?? "";
  }

  /** `mustHalt`: the machine cannot have all that it promised. */
  async #judge(victim: SimNode, others: readonly SimNode[], mustHalt: boolean): Promise<string> {
    if (victim.state === "down") this.start(victim);
    await this.pass(this.random.between(100, 5000));
    if (this.random.chance(0.5)) await this.write(victim, 2000);
    await this.write(others[0]!);
    await this.settle(others);
    const halted = this.#stateOf(victim);
    if (mustHalt && halted === "")
      this.problems.push(`${victim.name} is not halted: ${victim.node?.api.notReady() ?? victim.state}`);
    if (halted === "" && !mustHalt) await this.settle(this.nodes);
    this.check(halted === "" ? this.nodes : others);
    return halted;
  }

  #stateOf(node: SimNode): string {
    const reason = node.node?.api.notReady() ?? "";
    return LIFE_REFUSALS.find((code) => reason.startsWith(code)) ?? "";
  }
}
