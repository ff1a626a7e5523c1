/**
 * The network between nodes on one machine: a TCP proxy for each ordered pair of a dialling and a dialled node. So
 * each direction of each pair can be held, slowed or broken. A held direction loses and delivers nothing, not even a
 * FIN, as a real network until a partition heals or a peer gives up.
 */
import { createServer, connect, type Server, type Socket } from "node:net";
import type { Random } from "../../src/base/random.ts";

/** What one direction of a pair does to bytes. */
export interface Condition {
  /** Nothing arrives. */
  readonly held: boolean;
  readonly delayMs: number;
  /** Added to the delay, uniform in [0, jitterMs]. */
  readonly jitterMs: number;
  /** Probability that a chunk is "lost" and comes by retransmission: 200 ms later, 400 when lost again, … */
  readonly loss: number;
}

export const CLEAR: Condition = { held: false, delayMs: 0, jitterMs: 0, loss: 0 };

const FIRST_RETRANSMISSION_MS = 200;
const MAX_RETRANSMISSIONS = 5;
/** Bytes waiting in one direction of a connection above which the sender is not read any more. */
const HIGH_WATER_BYTES = 4 << 20;

class Direction {
  condition = CLEAR;
  readonly flows = new Set<Flow>();
  readonly random: Random;
  /** Connections that wait for a held direction. */
  readonly waiting = new Set<() => void>();

  constructor(random: Random) {
    this.random = random;
  }

  set(condition: Condition): void {
    const opens = this.condition.held && !condition.held;
    this.condition = condition;
    if (!opens) return;
    for (const flow of this.flows) flow.pump();
    for (const proceed of this.waiting) proceed();
  }

  /** Milliseconds until a chunk that is sent now arrives. */
  latency(): number {
    const { delayMs, jitterMs, loss } = this.condition;
    let ms = delayMs + (jitterMs > 0 ? this.random.below(jitterMs + 1) : 0);
    for (let i = 0; i < MAX_RETRANSMISSIONS && loss > 0 && this.random.chance(loss); i++)
      ms += FIRST_RETRANSMISSION_MS * 2 ** i;
    return ms;
  }
}

/** One direction of one connection. Order is kept: a late chunk holds up those behind it, as TCP does. */
class Flow {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #direction: Direction;
  #queue: { readonly chunk: Buffer; readonly due: number }[] = [];
  #bytes = 0;
  #ended = false;
  #timer: Timer | null = null;

  constructor(from: Socket, to: Socket, direction: Direction) {
    this.#from = from;
    this.#to = to;
    this.#direction = direction;
    direction.flows.add(this);
    from.on("data", (chunk: Buffer) => {
      const last = this.#queue.at(-1)?.due ?? 0;
      this.#queue.push({ chunk, due: Math.max(last, performance.now() + direction.latency()) });
      this.#bytes += chunk.length;
      if (this.#bytes > HIGH_WATER_BYTES) from.pause();
      this.pump();
    });
    const end = (): void => {
      this.#ended = true;
      this.pump();
    };
    from.on("end", end);
    from.on("close", end);
    to.on("close", () => this.#release());
  }

  pump(): void {
    if (this.#direction.condition.held) return;
    const now = performance.now();
    while (this.#queue.length > 0 && this.#queue[0]!.due <= now) {
      const { chunk } = this.#queue.shift()!;
      this.#bytes -= chunk.length;
      if (!this.#to.destroyed) this.#to.write(chunk);
    }
    if (this.#bytes <= HIGH_WATER_BYTES / 2 && this.#from.isPaused()) this.#from.resume();
    if (this.#queue.length > 0) {
      this.#timer ??= setTimeout(() => {
        this.#timer = null;
        this.pump();
      }, this.#queue[0]!.due - now);
    } else if (this.#ended) this.#to.destroy();
  }

  #release(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#direction.flows.delete(this);
    this.#queue = [];
    this.#bytes = 0;
  }

  /** Breaks the connection on both sides at once. */
  reset(): void {
    this.#from.resetAndDestroy();
    this.#to.resetAndDestroy();
    this.#release();
  }
}

export class Links {
  readonly #random: Random;
  readonly #directions = new Map<string, Direction>();
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #ports = new Map<string, number>();

  constructor(random: Random) {
    this.#random = random;
  }

  #direction(from: string, to: string): Direction {
    const key = `${from}>${to}`;
    let direction = this.#directions.get(key);
    if (direction === undefined) this.#directions.set(key, (direction = new Direction(this.#random.fork())));
    return direction;
  }

  /** Opens the proxy on which `from` dials `to`, whose port may be known later. */
  async open(from: string, to: string, port: () => number): Promise<void> {
    const [there, back] = [this.#direction(from, to), this.#direction(to, from)];
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.#keep(client);
      // A connection needs both directions: until then its bytes wait here, as a SYN would.
      client.pause();
      const proceed = (): void => {
        if (there.condition.held || back.condition.held) return;
        there.waiting.delete(proceed);
        back.waiting.delete(proceed);
        if (client.destroyed) return;
        const target = connect({ port: port(), host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
        this.#keep(target);
        void new Flow(client, target, there);
        void new Flow(target, client, back);
        client.resume();
      };
      there.waiting.add(proceed);
      back.waiting.add(proceed);
      client.on("close", () => {
        there.waiting.delete(proceed);
        back.waiting.delete(proceed);
      });
      proceed();
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#ports.set(`${from}>${to}`, (server.address() as { port: number }).port);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}); // its close follows
    socket.on("close", () => this.#sockets.delete(socket));
  }

  /** Where `from` finds `to`. */
  address(from: string, to: string): string {
    return `/ip4/127.0.0.1/tcp/${this.#ports.get(`${from}>${to}`)}`;
  }

  set(from: string, to: string, condition: Condition): void {
    this.#direction(from, to).set(condition);
  }

  /** Both directions between every one of `left` and every one of `right`. */
  between(left: readonly string[], right: readonly string[], condition: Condition): void {
    for (const a of left)
      for (const b of right) {
        this.set(a, b, condition);
        this.set(b, a, condition);
      }
  }

  /** Breaks the connections of a pair, in either direction of dialling; bytes in transit are lost. */
  reset(a: string, b: string): void {
    for (const direction of [this.#direction(a, b), this.#direction(b, a)])
      for (const flow of [...direction.flows]) flow.reset();
  }

  clear(): void {
    for (const direction of this.#directions.values()) direction.set(CLEAR);
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
