/** Which faults happen when: a function of the seed, the time and the number of nodes alone. */
import type { Random } from "../../src/base/random.ts";

export type Fault =
  /** Nothing passes between `nodes` and the rest. `reset`: connections are broken when it heals, else they go on. */
  | { readonly kind: "partition"; readonly nodes: readonly number[]; readonly reset: boolean }
  /** Every node is alone. */
  | { readonly kind: "shatter"; readonly reset: boolean }
  /** What `from` sends to `to` does not arrive; the other direction works. −1: all others. */
  | { readonly kind: "one-way"; readonly from: number; readonly to: number; readonly reset: boolean }
  | { readonly kind: "delay"; readonly node: number; readonly ms: number; readonly jitterMs: number }
  | { readonly kind: "loss"; readonly node: number; readonly percent: number }
  /** Cut and open again, over and over. */
  | { readonly kind: "flap"; readonly node: number; readonly everyMs: number; readonly reset: boolean }
  /** All connections break once. */
  | { readonly kind: "reset" }
  | { readonly kind: "kill"; readonly nodes: readonly number[] }
  /** Killed, restarted, killed again 150 ms into the catch-up, restarted. */
  | { readonly kind: "kill catching up"; readonly node: number }
  | { readonly kind: "stop"; readonly node: number }
  | { readonly kind: "kill application"; readonly node: number }
  | { readonly kind: "disk full"; readonly of: "data" | "file" }
  | { readonly kind: "clock"; readonly node: number; readonly hours: number };

export interface Planned {
  /** Milliseconds after the beginning. */
  readonly at: number;
  readonly ms: number;
  readonly fault: Fault;
}

function draw(random: Random, nodes: number): Fault {
  const node = random.below(nodes);
  const reset = random.chance(0.5);
  switch (random.below(16)) {
    case 0:
    case 1:
      return { kind: "partition", nodes: [node], reset };
    case 2: {
      const shuffled = [...Array(nodes).keys()]
        .map((n) => [random.next(), n] as const)
        .sort((a, b) => a[0] - b[0]);
      const minority = random.between(1, Math.max(1, Math.floor((nodes - 1) / 2)));
      return { kind: "partition", nodes: shuffled.slice(0, minority).map(([, n]) => n), reset };
    }
    case 3:
      return { kind: "shatter", reset };
    case 4:
      return { kind: "one-way", from: node, to: -1, reset };
    case 5:
      return { kind: "one-way", from: -1, to: node, reset };
    case 6:
      return { kind: "one-way", from: node, to: (node + random.between(1, nodes - 1)) % nodes, reset };
    case 7:
      return {
        kind: "delay",
        node,
        ms: random.pick([5, 20, 100, 400]),
        jitterMs: random.pick([0, 10, 100, 400]),
      };
    case 8:
      return { kind: "loss", node, percent: random.pick([1, 5, 20]) };
    case 9:
      return { kind: "flap", node, everyMs: random.pick([50, 300, 1200]), reset };
    case 10:
      return random.chance(0.5) ? { kind: "reset" } : { kind: "kill application", node };
    case 11:
      return { kind: "kill", nodes: random.chance(0.25) ? [...Array(nodes).keys()] : [node] };
    case 12:
      return { kind: "kill catching up", node };
    case 13:
      return { kind: "stop", node };
    case 14:
      return { kind: "disk full", of: random.pick(["data", "file"]) };
    default:
      return { kind: "clock", node, hours: random.pick([-1000, -30, -1, 1, 30, 1000]) };
  }
}

/** `count` nodes, `ms` milliseconds; some faults overlap. */
export function schedule(random: Random, count: number, ms: number): Planned[] {
  const out: Planned[] = [];
  for (let at = random.between(300, 1200); at < ms;) {
    const duration = random.pick([400, 1000, 2500, 6500]);
    const last = Math.min(duration, Math.max(300, ms - at));
    out.push({ at, ms: last, fault: draw(random, count) });
    at += random.chance(0.3) ? random.between(50, 400) : last + random.between(300, 2000);
  }
  return out;
}

export const describeFault = ({ at, ms, fault }: Planned): string =>
  `${(at / 1000).toFixed(2).padStart(7)} s  ${(ms / 1000).toFixed(1)} s  ${Object.entries(fault)
    .map(([k, v]) => (k === "kind" ? String(v) : `${k} ${String(v)}`))
    .join(", ")}`;
