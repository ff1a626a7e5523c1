/** Makes a libp2p node with the transports, limits and services of this project. It is not started. */
import { gossipsub, type GossipSub } from "@chainsafe/libp2p-gossipsub";
import { identify } from "@libp2p/identify";
import type { PrivateKey } from "@libp2p/interface";
import { mdns } from "@libp2p/mdns";
import { yamux } from "@libp2p/yamux";
import { createLibp2p, type Libp2p, type Libp2pOptions } from "libp2p";
import { encrypters } from "./noise.ts";
import { tcp } from "./tcp.ts";

/** Records are sent to all peers at once, so the mesh matters little; each heartbeat costs an idle node CPU time. */
const GOSSIP_HEARTBEAT_MS = 5000;

export interface Libp2pNodeOptions {
  readonly privateKey: PrivateKey;
  readonly listen: readonly string[];
  readonly announce: readonly string[];
  readonly mdns: boolean;
  readonly dialTimeoutMs: number;
  /** The only gossip topic. */
  readonly topic: string;
  /** null: no private network. */
  readonly connectionProtector: NonNullable<Libp2pOptions["connectionProtector"]> | null;
}

export async function createNode(options: Libp2pNodeOptions): Promise<Libp2p> {
  const { privateKey, listen, announce, connectionProtector } = options;
  return await createLibp2p({
    privateKey,
    addresses: { listen: [...listen], announce: [...announce] },
    transports: [tcp()],
    connectionEncrypters: encrypters(),
    streamMuxers: [
      yamux({
        streamOptions: {
          maxStreamWindowSize: 1 << 20,
          maxReadBufferLength: 8 << 20,
          maxWriteBufferLength: 64 << 20,
        },
      }),
    ],
    ...(connectionProtector === null ? {} : { connectionProtector }),
    ...(options.mdns ? { peerDiscovery: [mdns()] } : {}),
    connectionManager: {
      inboundConnectionThreshold: 200,
      maxIncomingPendingConnections: 64,
      dialTimeout: options.dialTimeoutMs,
      reconnectRetries: 0,
    },
    connectionMonitor: { enabled: false },
    connectionGater: {
      denyDialMultiaddr: () => false,
    },
    services: {
      identify: identify(),
      gossip: gossipsub({
        allowPublishToZeroTopicPeers: true,
        emitSelf: false,
        floodPublish: true,
        heartbeatInterval: GOSSIP_HEARTBEAT_MS,
        // A peer cannot make this node remember topics.
        allowedTopics: [options.topic],
      }),
    } as never,
    start: false,
  });
}

export const gossipOf = (node: Libp2p): GossipSub =>
  (node.services as unknown as { readonly gossip: GossipSub }).gossip;
