/** Transports on loopback for tests, with waiting for conditions. */
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../silent-logger.ts";
import { Random } from "../../src/base/random.ts";
import type { PeerHello } from "../../src/shard/seams.ts";
import { Libp2pTransport, type TransportOptions } from "../../src/transport/transport.ts";

export async function until(condition: () => boolean, what: string, ms = 20_000): Promise<void> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await Bun.sleep(5);
  }
}

export const KEY = new Uint8Array(32).fill(7);

export interface TestPeer {
  readonly transport: Libp2pTransport;
  readonly messages: { from: string; bytes: Uint8Array }[];
  readonly connects: PeerHello[];
  readonly disconnects: string[];
  readonly refusals: string[];
  admit: (peer: PeerHello) => string | null;
  onMessage: ((from: string, bytes: Uint8Array) => void) | null;
  onTransfer: (request: Uint8Array) => AsyncIterable<Uint8Array>;
}

export async function peer(
  options: Partial<TransportOptions> & { identity?: PrivateKey } = {},
): Promise<TestPeer> {
  const { identity, ...rest } = options;
  const privateKey = identity ?? (await generateKeyPair("Ed25519"));
  const refusals: string[] = [];
  const transport = new Libp2pTransport(
    { clock: systemClock, random: new Random(1), logger: silentLogger },
    {
      privateKey,
      clusterKeys: [KEY],
      listen: ["/ip4/127.0.0.1/tcp/0"],
      announce: [],
      peers: [],
      remembered: { worked: [], told: [] },
      mdns: false,
      onRefused: (_peer, reason) => refusals.push(reason),
      ...rest,
    },
  );
  const node: TestPeer = {
    transport,
    messages: [],
    connects: [],
    disconnects: [],
    refusals,
    admit: () => null,
    onMessage: null,
    onTransfer: async function* () {},
  };
  await transport.start({
    hello: () => new TextEncoder().encode(`hello of ${transport.peerId}`),
    admit: (p) => node.admit(p),
    onConnect: (p) => node.connects.push(p),
    onDisconnect: (p) => node.disconnects.push(p),
    onMessage: (from, bytes) => {
      if (node.onMessage !== null) node.onMessage(from, bytes);
      else node.messages.push({ from, bytes });
    },
    onTransfer: (_from, request) => node.onTransfer(request),
  });
  return node;
}

export const linked = (a: TestPeer, b: TestPeer): boolean =>
  a.transport.connected().includes(b.transport.peerId) &&
  b.transport.connected().includes(a.transport.peerId);
