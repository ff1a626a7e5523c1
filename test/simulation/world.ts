/** Simulated time: a heap of events, one at a time, everything drawn from one seed. */
import { Random } from "../../src/base/random.ts";
import { Pieces } from "./pieces.ts";

interface Event {
  readonly at: number;
  readonly order: number;
  run: (() => void) | null;
}

/** Events between two turns of the real event loop. */
const TURN_EVERY = 64;
/** Newest lines of the trace that are kept. */
const TRACE_KEPT = 4000;

export class World {
  readonly random: Random;
  /** Milliseconds since the start. It also moves within an event: code takes time. */
  now = 0;
  events = 0;
  readonly #pieces = new Pieces();
  readonly #heap: Event[] = [];
  #order = 0;
  readonly #trace: string[] = [];
  #hash = 0n;
  readonly #verbose: boolean;

  constructor(seed: number, verbose: boolean) {
    this.random = new Random(seed);
    this.#verbose = verbose;
  }

  after(ms: number, run: () => void): { cancel(): void } {
    const event: Event = { at: this.now + Math.max(0, ms), order: this.#order++, run };
    this.#push(event);
    return {
      cancel: () => {
        event.run = null;
      },
    };
  }

  /** Runs the next event and everything that it set going. False: there is none, whatever goes on in pieces went on. */
  async step(): Promise<boolean> {
    const event = this.#pop();
    if (event?.run === null) return true;
    if (event !== undefined) {
      this.now = Math.max(this.now, event.at);
      this.events++;
      event.run();
    }
    this.#pieces.goOn();
    // No node waits for the real event loop; other work in the process gets a turn of it now and then.
    if (event === undefined || this.events % TURN_EVERY === 0) await this.#pieces.turn();
    return event !== undefined;
  }

  /** The end: nothing of it steps any more. */
  close(): void {
    this.#pieces.release();
  }

  /** Something happened that a run must repeat to the letter. */
  mix(bytes: Uint8Array): void {
    this.#hash = Bun.hash.xxHash64(bytes, this.#hash);
  }

  log(line: string): void {
    const text = `${this.now.toFixed(3)} ${line}`;
    this.#hash = Bun.hash.xxHash64(text, this.#hash);
    if (this.#verbose) console.log(text);
    this.#trace.push(text);
    if (this.#trace.length > 2 * TRACE_KEPT) this.#trace.splice(0, TRACE_KEPT);
  }

  /** The last events, a line each. */
  get trace(): readonly string[] {
    return this.#trace;
  }

  /** Equal for two runs that did the same. */
  get hash(): string {
    return this.#hash.toString(16);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (before(heap[parent]!, event)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(last, heap[child]!)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
