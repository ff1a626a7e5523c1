/** Records of addresses by gossip, while wall clocks are set back. */
import { expect, test } from "bun:test";
import type { GossipSub } from "@chainsafe/libp2p-gossipsub";
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { Clock, Timer } from "../../src/base/clock.ts";
import { Discovery } from "../../src/transport/discovery.ts";
import { until } from "../cluster/lab.ts";

/** A clock whose times a test sets, and whose timers a test runs. */
class SetClock implements Clock {
  time = 1_000_000;
  wall = 1_700_000_000_000;
  timers: (() => void)[] = [];

  now(): number {
    return this.time;
  }

  wallTime(): number {
    return this.wall;
  }

  after(_ms: number, run: () => void): Timer {
    this.timers.push(run);
    return { cancel: () => {} };
  }

  soon(run: () => void): void {
    queueMicrotask(run);
  }

  /** Runs the timers that are due next. */
  tick(): void {
    for (const run of this.timers.splice(0)) run();
  }
}

/** A topic that delivers what one node publishes to the other one. */
class Topic extends EventTarget {
  sent = 0;
  other: Topic | null = null;
  subscribe(): void {}
  publish(topic: string, data: Uint8Array): Promise<void> {
    this.sent++;
    this.other?.dispatchEvent(new CustomEvent("message", { detail: { topic, data } }));
    return Promise.resolve();
  }
}

test("new addresses are heard after the clock of a running node, and of a stopped one, was set back", async () => {
  const [from, to] = [new Topic(), new Topic()];
  from.other = to;
  const heard: string[][] = [];
  const [there, here] = [new SetClock(), new SetClock()];
  const privateKey = await generateKeyPair("Ed25519");
  let address = "/ip4/10.0.0.1/tcp/1";
  const parts = {
    privateKey,
    clock: there,
    addresses: () => [address],
    knows: () => true,
    onRecord: () => {},
  };
  const starting = (): Discovery => {
    const discovery = new Discovery({ ...parts, gossip: from as unknown as GossipSub });
    discovery.start();
    return discovery;
  };
  const receiver = new Discovery({
    ...{ gossip: to as unknown as GossipSub, privateKey: await generateKeyPair("Ed25519"), clock: here },
    ...{ addresses: () => [], knows: () => true, onRecord: (_peer, addresses) => void heard.push(addresses) },
  });
  receiver.start();
  const hears = (last: string): Promise<void> => until(() => heard.at(-1)?.[0] === last, `${last} is heard`);
  const running = starting();
  await hears(address);
  there.wall -= 3_600_000;
  address = "/ip4/10.0.0.2/tcp/1";
  there.tick();
  await hears(address);
  running.stop();
  there.timers = [];
  address = "/ip4/10.0.0.3/tcp/1";
  const { sent } = from;
  const again = starting();
  await until(() => from.sent > sent, "the record is sent");
  // A copy of an older record would look the same: it counts only when no newer one came for some time.
  here.time += 60_000;
  there.tick();
  await hears(address);
  expect(new Set(heard.flat()).size).toBe(3);
  again.stop();
  receiver.stop();
});
