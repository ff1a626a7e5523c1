/** Does to a cluster of processes what a schedule says, and undoes it. Faults may overlap; each undoes only itself. */
import type { TestCluster, TestNode } from "../cluster/lab.ts";
import type { ShiftedClock } from "./clock.ts";
import type { SmallDisk } from "./disk.ts";
import { CLEAR, type Condition } from "./links.ts";
import type { Fault, Planned } from "./schedule.ts";

const HELD: Condition = { ...CLEAR, held: true };
/** How far into its catch-up a node is killed again. */
const CATCHING_UP_MS = 150;

export interface Targets {
  readonly cluster: TestCluster;
  /** Small disks, where this machine mounts them. */
  readonly disks: Readonly<Partial<Record<"data" | "file", SmallDisk>>>;
  /** By node; empty where the machine builds no shim. */
  readonly clocks: readonly ShiftedClock[];
  /** A node's process is started; `ended` when the fault that took it is over. */
  readonly onStart: (node: TestNode) => void;
  readonly killApplication: (node: number) => Promise<void>;
}

type Effect = (from: number, to: number) => Condition | null;

export class Injector {
  readonly #targets: Targets;
  readonly #effects = new Set<Effect>();
  /** Faults that hold a node's process down. */
  readonly #down: number[];
  readonly #stopped: number[];
  readonly #shift: number[];
  readonly #full = { data: 0, file: 0 };
  /** A node's process is killed and started one after the other. */
  readonly #turns: Promise<void>[];

  constructor(targets: Targets) {
    this.#targets = targets;
    const { nodes } = targets.cluster;
    this.#down = nodes.map(() => 0);
    this.#stopped = nodes.map(() => 0);
    this.#shift = nodes.map(() => 0);
    this.#turns = nodes.map(() => Promise.resolve());
  }

  /** Why a fault cannot be injected on this machine; null: it can. */
  unavailable(fault: Fault): string | null {
    if (fault.kind === "disk full" && this.#targets.disks[fault.of] === undefined) return "no small disk";
    return fault.kind === "clock" && this.#targets.clocks.length === 0 ? "no C compiler for the clock" : null;
  }

  /** Resolves when it is over and undone. */
  async inject({ fault, ms }: Planned): Promise<void> {
    const { nodes, links } = this.#targets.cluster;
    switch (fault.kind) {
      case "partition": {
        const inside = (n: number): boolean => fault.nodes.includes(n);
        return this.#network((a, b) => (inside(a) === inside(b) ? null : HELD), ms, fault.reset);
      }
      case "shatter":
        return this.#network(() => HELD, ms, fault.reset);
      case "one-way": {
        const { from, to } = fault;
        const cut = (a: number, b: number): boolean => (from === -1 || a === from) && (to === -1 || b === to);
        return this.#network((a, b) => (cut(a, b) ? HELD : null), ms, fault.reset);
      }
      case "delay": {
        const slow: Condition = { ...CLEAR, delayMs: fault.ms, jitterMs: fault.jitterMs };
        return this.#network((a, b) => (a === fault.node || b === fault.node ? slow : null), ms, false);
      }
      case "loss": {
        const lossy: Condition = { ...CLEAR, loss: fault.percent / 100 };
        return this.#network((a, b) => (a === fault.node || b === fault.node ? lossy : null), ms, false);
      }
      case "flap": {
        const end = performance.now() + ms;
        while (performance.now() < end) {
          await this.#network(
            (a, b) => (a === fault.node || b === fault.node ? HELD : null),
            fault.everyMs,
            fault.reset,
          );
          await Bun.sleep(fault.everyMs);
        }
        return;
      }
      case "reset":
        for (const a of nodes) for (const b of nodes) if (a.name < b.name) links!.reset(a.name, b.name);
        return;
      case "kill":
        await Promise.all(fault.nodes.map((n) => this.#hold(n, ms)));
        return;
      case "kill catching up":
        await this.#hold(fault.node, ms);
        await Bun.sleep(CATCHING_UP_MS);
        return this.#hold(fault.node, 0);
      case "stop":
        this.#stopped[fault.node]!++;
        nodes[fault.node]!.signal("SIGSTOP");
        await Bun.sleep(ms);
        if (--this.#stopped[fault.node]! === 0) nodes[fault.node]!.signal("SIGCONT");
        return;
      case "kill application":
        return this.#targets.killApplication(fault.node);
      case "disk full": {
        const disk = this.#targets.disks[fault.of]!;
        this.#full[fault.of]++;
        disk.fill();
        await Bun.sleep(ms);
        if (--this.#full[fault.of] === 0) disk.empty();
        return;
      }
      case "clock":
        this.#shift[fault.node]! += fault.hours;
        this.#targets.clocks[fault.node]!.shift(this.#shift[fault.node]!);
        await Bun.sleep(ms);
        this.#shift[fault.node]! -= fault.hours;
        this.#targets.clocks[fault.node]!.shift(this.#shift[fault.node]!);
    }
  }

  async #network(effect: Effect, ms: number, reset: boolean): Promise<void> {
    this.#effects.add(effect);
    this.#apply();
    await Bun.sleep(ms);
    this.#effects.delete(effect);
    const { nodes, links } = this.#targets.cluster;
    if (reset)
      for (const [a, from] of nodes.entries())
        for (const [b, to] of nodes.entries()) if (effect(a, b) !== null) links!.reset(from.name, to.name);
    this.#apply();
  }

  #apply(): void {
    const { nodes, links } = this.#targets.cluster;
    for (const [a, from] of nodes.entries())
      for (const [b, to] of nodes.entries()) {
        if (a === b) continue;
        let condition = CLEAR;
        for (const effect of this.#effects) {
          const more = effect(a, b);
          if (more === null) continue;
          condition = {
            held: condition.held || more.held,
            delayMs: condition.delayMs + more.delayMs,
            jitterMs: condition.jitterMs + more.jitterMs,
            loss: Math.max(condition.loss, more.loss),
          };
        }
        links!.set(from.name, to.name, condition);
      }
  }

  /** Killed, and started when no fault holds it down any more. */
  async #hold(n: number, ms: number): Promise<void> {
    const node = this.#targets.cluster.nodes[n]!;
    this.#down[n]!++;
    await this.#turn(n, () => node.kill());
    await Bun.sleep(ms);
    this.#down[n]!--;
    await this.#turn(n, async () => {
      if (this.#down[n] !== 0 || node.process !== null) return;
      this.#targets.onStart(node);
      await node.start();
      if (this.#stopped[n]! > 0) node.signal("SIGSTOP");
    });
  }

  #turn(n: number, step: () => Promise<void>): Promise<void> {
    const next = this.#turns[n]!.then(step);
    this.#turns[n] = next;
    return next;
  }
}
