/** libp2p's TCP, on Bun. */
import type { Multiaddr } from "@multiformats/multiaddr";
import { tcp as libp2pTcp } from "@libp2p/tcp";

type MakeTransport = ReturnType<typeof libp2pTcp>;

interface DialOptions {
  readonly signal: AbortSignal;
}

interface Connects {
  _connect(address: Multiaddr, options: DialOptions): Promise<unknown>;
}

/**
 * The deadline of a dial is hidden from its socket; libp2p itself observes it. Otherwise Bun ends the socket with an error
 * at the deadline. libp2p has removed its error listener by then, and an error without a listener ends the process.
 */
export function tcp(): MakeTransport {
  const make = libp2pTcp();
  return (components) => {
    const transport = make(components);
    const connecting = transport as unknown as Connects;
    const connect = connecting._connect.bind(connecting);
    // The socket is created from the enumerable options.
    connecting._connect = (address, options) =>
      connect(
        address,
        Object.defineProperty({ ...options }, "signal", { value: options.signal, enumerable: false }),
      );
    return transport;
  };
}
