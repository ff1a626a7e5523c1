/**
 * Window updates of yamux. The library answers each frame of data with one: a packet of its own wherever no other data goes
 * back. Half of a window is room enough for the sender until the next one.
 */

/** The parts of the library's stream that are used here. */
interface WindowedStream {
  readonly state: number;
  readonly recvWindow: number;
  readonly recvWindowCapacity: number;
  sendWindowUpdate(): void;
}

/** Of the library: both sides know the stream, so that an update carries no flags. */
const ESTABLISHED = 3;

/** From now on the stream sends an update when half of its window is used. */
export function deferWindowUpdates(stream: WindowedStream): void {
  const send = stream.sendWindowUpdate.bind(stream);
  stream.sendWindowUpdate = () => {
    if (stream.state === ESTABLISHED && stream.recvWindowCapacity > stream.recvWindow / 2) return;
    send();
  };
}

export const hasWindow = (stream: object): stream is WindowedStream => "sendWindowUpdate" in stream;
