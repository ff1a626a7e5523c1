/**
 * Files that are changed from outside: the file of one of three nodes goes back in time, becomes the file of another node, is
 * cut off, or loses its change logs. The node must name it, or go on with all rows; it must confirm nothing that the others
 * lack. Then `repair` builds the file again. One seed, one course of events, as in simulation.ts.
 */
import { writeFileSync } from "node:fs";
import { DatabaseSync, backup } from "node:sqlite";
import { decodeImage } from "../../src/change/codec.ts";
import { type Image, restoreDatabase } from "./disk.ts";
import { Scenario, type ScenarioResult } from "./scenario.ts";
import type { SimNode } from "./sim-node.ts";

export const FILE_FAULTS = [
  "older",
  "older and written",
  "restored while it runs",
  "another node's",
  "cut off",
  "without its log rows",
] as const;
type FileFault = (typeof FILE_FAULTS)[number];

export interface FileResult extends ScenarioResult {
  readonly fault: FileFault;
  /** The state in which the node ended before its repair; "": it replicated. */
  readonly halted: string;
}

/** States that a fault may lead to; "": the node goes on by itself. */
const ENDS: Readonly<Record<FileFault, readonly string[]>> = {
  older: [""],
  "older and written": ["file-older"],
  "restored while it runs": ["", "file-older"],
  "another node's": ["file-replaced"],
  "cut off": ["", "damaged", "file-older", "file-replaced"],
  "without its log rows": [""],
};

export async function changeTheFile(seed: number, verbose = false): Promise<FileResult> {
  const run = new FileRun(seed, verbose);
  const { problems, trace } = await run.play();
  return { fault: run.fault, problems, trace, halted: run.halted };
}

class FileRun extends Scenario {
  readonly fault: FileFault;
  halted = "";
  /** Tags of rows that the application wrote into the changed file. */
  readonly #written: string[] = [];

  constructor(seed: number, verbose: boolean) {
    super(seed, verbose);
    this.fault = FILE_FAULTS[seed % FILE_FAULTS.length]!;
  }

  async act(): Promise<void> {
    const victim = this.random.pick(this.nodes);
    const others = this.nodes.filter((n) => n !== victim);
    for (let i = this.random.between(0, 3); i > 0; i--) await this.write(this.random.pick(this.nodes));
    const old = this.image(victim).file;
    await this.write(victim);
    for (let i = this.random.between(0, 3); i > 0; i--) await this.write(this.random.pick(this.nodes));
    await this.#change(victim, others, old);
    if (victim.state === "down") this.start(victim);
    await this.pass(this.random.between(100, 5000));
    if (this.random.chance(0.5)) await this.write(victim, 2000);
    await this.write(others[0]!);
    await this.settle(others);
    this.halted = stateOf(victim);
    if (!ENDS[this.fault].includes(this.halted))
      this.problems.push(
        `${victim.name} ends as "${this.halted}": ${victim.node?.api.notReady() ?? victim.state}`,
      );
    this.check(others);
    if (this.halted !== "") await this.#repair(victim);
    await this.settle(this.nodes);
    this.check(this.nodes);
    this.#checkWritten(victim);
  }

  async #change(victim: SimNode, others: readonly SimNode[], old: Image): Promise<void> {
    switch (this.fault) {
      case "older":
        await this.down(victim);
        return this.#putFile(victim, old);
      case "older and written":
        await this.down(victim);
        this.#putFile(victim, old);
        for (let i = this.random.between(1, 20); i > 0; i--) this.#written.push(this.pending(victim)[1]);
        return;
      case "restored while it runs":
        return this.#restore(victim, old);
      case "another node's": {
        const [other] = others as [SimNode];
        const image = [...this.image(other).file].map(
          ([path, content]) => [path.replace(other.file, victim.file), content] as const,
        );
        await this.down(victim);
        return this.#putFile(victim, new Map(image));
      }
      case "cut off": {
        await this.down(victim);
        const { file } = this.image(victim);
        const whole = file.get(victim.file)!;
        return this.#putFile(
          victim,
          new Map([[victim.file, whole.slice(0, this.random.below(whole.length))]]),
        );
      }
      case "without its log rows": {
        for (const peer of others) this.network.cut(victim.peerId, peer.peerId);
        for (let i = this.random.between(1, 5); i > 0; i--) this.#written.push(this.pending(victim)[1]);
        if (this.random.chance(0.5)) await this.down(victim);
        this.world.log(`${victim.name}: the change log is emptied`);
        victim.application.maintain('DELETE FROM "__marmot__kv_change_log"');
        if (this.random.chance(0.5)) this.#written.push(this.pending(victim)[1]);
        for (const peer of others) this.network.heal(victim.peerId, peer.peerId);
      }
    }
  }

  #putFile(node: SimNode, image: Image): void {
    this.world.log(`${node.name}: another file is in place`);
    node.application.close();
    restoreDatabase(image, node.file);
    // What is cut off cannot be opened by its application.
    if (this.fault !== "cut off") node.application.open();
  }

  /** Writes the pages of the older file into the open one. */
  async #restore(node: SimNode, old: Image): Promise<void> {
    const isOtherLife = this.random.chance(0.5);
    if (isOtherLife) await this.pass(300);
    const copy = `${this.folder}/older.db`;
    for (const [path, content] of old) writeFileSync(path.replace(node.file, copy), content);
    const source = new DatabaseSync(copy);
    let isDone: unknown = false;
    void backup(source, node.file).then(
      () => (isDone = true),
      (error: unknown) => (isDone = error),
    );
    await this.until(() => isDone !== false, "the older file is written into the open one");
    source.close();
    if (isDone !== true) throw isDone;
    this.world.log(`${node.name}: an older copy is restored into the open file`);
    node.committed();
    // Until Marmot's next look, a copy of the same life cannot be told by its log ids if the application uses them again.
    if (!isOtherLife) await this.pass(500);
    if (this.random.chance(0.5)) this.#written.push(this.pending(node)[1]);
  }

  async #repair(victim: SimNode): Promise<void> {
    victim.application.close();
    let isDone: unknown = false;
    void victim.node!.api.repair().then(
      () => (isDone = true),
      (error: unknown) => (isDone = error),
    );
    await this.until(() => isDone !== false, `${victim.name} is repaired`);
    if (isDone !== true) throw isDone;
    await this.until(() => victim.node?.api.notReady() === null, `${victim.name} is ready after its repair`);
    victim.application.open();
  }

  /** Each row that the application wrote into the changed file travelled, or is in the journal. */
  #checkWritten(victim: SimNode): void {
    const db = victim.observe();
    const shown = new Set(
      db
        .prepare("SELECT v FROM kv")
        .all()
        .map(({ v }) => String(v)),
    );
    db.close();
    const { journal } = victim.member!.replica.replica;
    const lost = new Set(
      journal
        .list(1000)
        .flatMap(({ losingImage }) => (losingImage === null ? [] : decodeImage(losingImage).map(String))),
    );
    for (const tag of this.#written)
      if (!shown.has(tag) && !lost.has(tag)) this.problems.push(`the row ${tag} is lost`);
  }
}

const stateOf = (node: SimNode): string =>
  /^(damaged|file-\w+): /.exec(node.node?.api.notReady() ?? "")?.[1] ?? "";
