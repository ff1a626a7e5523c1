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
 * Its sockets are not told of a dial's deadline, which libp2p itself minds. Bun would end such a socket with an error when
 * the deadline passes, and libp2p listens for its errors no longer by then: an error that nobody listens for ends the process.
 */
export function tcp(): MakeTransport {
  const make = libp2pTcp();
  return (components) => {
    const transport = make(components);
    const connecting = transport as unknown as Connects;
    const connect = connecting._connect.bind(connecting);
    // What a socket is made with are the options that can be enumerated.
    connecting._connect = (address, options) =>
      connect(
        address,
        Object.defineProperty({ ...options }, "signal", { value: options.signal, enumerable: false }),
      );
    return transport;
  };
}
