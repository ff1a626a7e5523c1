/**
 * libp2p's private network: every byte of a connection is encrypted with a key derived from the cluster key. One fix is
 * put around the library, without a fork. All connections share the memory of one cipher. Data larger than that memory
 * (640 KB) makes it grow. Then each other connection computes a wrong size and makes it grow further. At the limit of the
 * memory the connections break. So each piece to encrypt is kept far below 640 KB.
 */
import type { ConnectionProtector } from "@libp2p/interface";
import { preSharedKey } from "@libp2p/pnet";

/** Upper limit of one piece to encrypt. */
const PIECE_BYTES = 256 << 10;
const TIMEOUT_MS = 5000;

type Components = Parameters<ReturnType<typeof preSharedKey>>;

export function privateNetwork(psk: Uint8Array): (...components: Components) => ConnectionProtector {
  const create = preSharedKey({ psk, timeout: TIMEOUT_MS });
  return (...components) => {
    const inner = create(...components);
    const protect: ConnectionProtector["protect"] = async (connection, options) => {
      const encrypted = await inner.protect(connection, options);
      (encrypted as { maxMessageSize?: number }).maxMessageSize = PIECE_BYTES;
      return encrypted;
    };
    return new Proxy(inner, {
      get: (target, key) => (key === "protect" ? protect : (Reflect.get(target, key, target) as unknown)),
    });
  };
}
