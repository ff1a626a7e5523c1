/**
 * A rolling upgrade: nodes that read older log entries beside nodes of a later release, which writes a newer format as soon as
 * each member reads it. Here entries of format 3 are those of format 1 under another number. A node of an older release must
 * never have one in its log, and one that goes back after their first use must halt. One seed, one course of events, as in
 * simulation.ts.
 */
import { FORMATS } from "../../src/base/versions/formats.ts";
import { decodeBatchHead } from "../../src/change/codec.ts";
import { EntryType } from "../../src/raft/model/types.ts";
import { decodeHello, encodeHello } from "../../src/replication/messages/control-messages.ts";
import type { Replicator } from "../../src/replication/replicator.ts";
import { Scenario, type ScenarioResult } from "./scenario.ts";
import type { SimNode } from "./sim-node.ts";
import { writeIdentity } from "./template.ts";

/** The newest format of entries that a release reads. The first one tells no formats in its hello. */
const RELEASES = [
  { entry: 2, tells: false },
  { entry: 2, tells: true },
] as const;
const LATER = { entry: 3, tells: true } as const;
type Release = (typeof RELEASES)[number] | typeof LATER;

const NEWEST = LATER.entry;
/** MessagePack's array of up to 15 items, and its array with a length of two bytes. */
const SHORT_ARRAY = 0x90;
const LONG_ARRAY = 0xdc;

export async function upgrade(seed: number, verbose = false): Promise<ScenarioResult> {
  const { max } = FORMATS.entry;
  const entry = FORMATS.entry as { max: number };
  entry.max = NEWEST;
  try {
    return await new UpgradeRun(seed, verbose).play();
  } finally {
    entry.max = max;
  }
}

class UpgradeRun extends Scenario {
  readonly #old = this.random.pick(RELEASES);
  readonly #releases = new Map<SimNode, Release>();
  readonly #watched = new Map<SimNode, Replicator>();
  /** Entries of the newest format that were proposed. */
  #newest = 0;

  async act(): Promise<void> {
    const late = this.random.chance(0.4) ? await this.#newcomer() : null;
    const order = this.#shuffled(this.nodes);
    let unmet: SimNode | null = null;
    for (const [i, node] of order.entries()) {
      await this.#restart(node, LATER);
      await this.#writes();
      if (i === order.length - 1) break;
      await this.#between(node);
      if (late === null && i === 0 && this.random.chance(0.6)) unmet = await this.#unmet(node);
    }
    if (unmet !== null) {
      await this.write(order[0]!);
      await this.up(unmet);
      await this.#restart(unmet, LATER);
    }
    await this.#all();
    const back = this.random.pick(this.nodes);
    await this.#back(back);
    await this.settle(this.nodes);
    this.check(this.nodes);
  }

  #shuffled(nodes: readonly SimNode[]): SimNode[] {
    const rest = [...nodes];
    return nodes.map(() => rest.splice(this.random.below(rest.length), 1)[0]!);
  }

  /** Other events of an upgrade that takes its time. */
  async #between(upgraded: SimNode): Promise<void> {
    // It goes back: nothing newer was written yet.
    if (this.random.chance(0.3)) {
      await this.#restart(upgraded, this.#old);
      await this.#writes();
      await this.#restart(upgraded, LATER);
    }
    if (this.random.chance(0.3)) {
      const node = this.random.pick(this.nodes.filter(({ state }) => state === "up"));
      await this.#restart(node, this.#of(node));
    }
  }

  /** A node of the older release joins while the upgraded one is down, and is down when that one comes back. */
  async #unmet(upgraded: SimNode): Promise<SimNode> {
    await this.down(upgraded);
    const joined = await this.#newcomer("learner");
    await this.down(joined);
    await this.up(upgraded);
    await this.write(upgraded);
    return joined;
  }

  async #newcomer(role: "voter" | "learner" = this.random.pick(["voter", "learner"])): Promise<SimNode> {
    const number = this.nodes.length;
    const node = await this.node(number, this.folder, undefined, { role });
    this.nodes.push(node);
    await writeIdentity(node.dataDir, number);
    await this.up(node);
    node.application.open();
    await this.settle(this.nodes.filter(({ state }) => state === "up"));
    return node;
  }

  async #restart(node: SimNode, release: Release): Promise<void> {
    await this.down(node);
    const up = this.nodes.filter(({ state }) => state === "up");
    if (this.random.chance(0.5)) await this.write(this.random.pick(up));
    this.world.log(`${node.name} is started by a release that reads entries up to format ${release.entry}`);
    this.#releases.set(node, release);
    await this.up(node);
  }

  async #writes(): Promise<void> {
    const up = this.nodes.filter(({ state }) => state === "up");
    for (let i = this.random.between(1, 3); i > 0; i--) {
      if (this.random.chance(0.6)) await this.write(this.random.pick(up));
      else this.pending(this.random.pick(up));
    }
  }

  /** Each member is of the later release: its format is used now. */
  async #all(): Promise<void> {
    await this.until(
      () => this.nodes.every(({ member }) => member !== null && member.formats.held().length === 0),
      "each member knows that all read the newest format",
    );
    for (const node of this.nodes) await this.write(node);
    if (this.#newest === 0) this.problems.push("the newest format is never used");
    await this.settle(this.nodes);
  }

  /** The entries of the newest format are in the replicas, so the members must refuse an older reader. */
  async #back(node: SimNode): Promise<void> {
    const others = this.nodes.filter((n) => n !== node);
    await this.down(node);
    // Then the members know from their files alone that the format is in use.
    if (this.random.chance(0.5)) {
      for (const other of others) await this.down(other);
      for (const other of others) this.start(other);
      for (const other of others) await this.up(other);
    }
    this.#releases.set(node, this.#old);
    this.start(node);
    const reason = (): string => node.node?.api.notReady() ?? node.state;
    await this.until(
      () => reason().startsWith("update"),
      () => `${node.name} halts with "update": ${reason()}`,
    );
    this.pending(node);
    if (await this.confirms(node)) this.problems.push(`${node.name} confirms while it is halted`);
    await this.write(this.random.pick(others));
    await this.#restart(node, LATER);
  }

  // ------------------------------------------------------------------------------------------ releases

  #of(node: SimNode): Release {
    return this.#releases.get(node) ?? this.#old;
  }

  protected override hello(node: SimNode, bytes: Uint8Array): Uint8Array {
    const { entry, tells } = this.#of(node);
    const { speaks, ...hello } = decodeHello(bytes)!;
    const told = (speaks ?? []).map(
      ([name, min, max]) => [name, min, name === "entry" ? entry : max] as const,
    );
    return encodeHello(tells ? { ...hello, speaks: told as unknown as typeof speaks } : hello);
  }

  /** Each process is watched from its first event on. */
  protected override onStep(): void {
    for (const node of this.nodes) {
      const { process } = node;
      if (process === null || this.#watched.get(node) === process) continue;
      this.#watched.set(node, process);
      if (this.#of(node) === LATER) this.#writesNewest(process);
      else this.#readsOlder(node, process);
    }
  }

  #writesNewest({ runtime, formats }: Replicator): void {
    const propose = runtime.propose.bind(runtime);
    runtime.propose = (shard, data) => {
      const raised = formats.mayWrite("entry") >= NEWEST ? raisedFormat(data) : null;
      if (raised !== null) this.#newest++;
      return propose(shard, raised ?? data);
    };
  }

  #readsOlder(node: SimNode, { log }: Replicator): void {
    const write = log.write.bind(log);
    log.write = (writes) => {
      for (const { shard, entries = [] } of writes)
        for (const { index, type, data } of entries)
          if (type === EntryType.normal && formatOf(data) === NEWEST)
            this.problems.push(`${node.name} cannot read entry ${index} of shard ${shard}`);
      write(writes);
    };
  }
}

const formatAt = (data: Uint8Array): number => (data[0] === LONG_ARRAY ? 3 : 1);

/** 0: it is no batch. */
function formatOf(data: Uint8Array): number {
  const first = data[0] ?? 0;
  if (first !== LONG_ARRAY && (first & 0xf0) !== SHORT_ARRAY) return 0;
  try {
    return decodeBatchHead(data).format;
  } catch {
    return 0; // a marker
  }
}

/** null: it is no batch of rows. */
function raisedFormat(data: Uint8Array): Uint8Array | null {
  if (formatOf(data) !== 1) return null;
  const raised = data.slice();
  raised[formatAt(data)] = NEWEST;
  return raised;
}
