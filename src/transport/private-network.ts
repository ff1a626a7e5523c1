/**
 * libp2p's private network: every byte of a connection is encrypted with a key of the cluster's before anything else is
 * said. One thing is mended around the library, without a fork: all connections share the memory in which the cipher
 * works. More than it holds at once, 640 KB, makes it grow; each other connection then takes itself for larger than
 * the memory and makes it grow, too, until the memory has reached its limit and the connections break. So what is
 * handed over at once is kept far below that.
 */
import type { ConnectionProtector } from "@libp2p/interface";
import { preSharedKey } from "@libp2p/pnet";

/** Bytes encrypted at once. */
export const PIECE_BYTES = 256 << 10;
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
