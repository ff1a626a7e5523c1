/**
 * The private network's cipher for the handshake of a connection alone. It keeps out a peer without the cluster key: such a
 * peer reads nothing and gets no further. After the handshake Noise encrypts and authenticates every byte, and a second
 * cipher would only cost time. Both sides know from the agreed kind of encryption that the cipher ends, and count the messages
 * of the handshake to know where: each has two bytes with its length before it.
 */
interface Cipher {
  update(bytes: Uint8Array): Uint8Array;
  final(): void;
}

type Buffered = Pick<Uint8Array, "byteLength"> & { subarray(): Uint8Array };

/** The parts of libp2p's connection in a private network that are used here. */
interface Protected {
  inboundXor?: Cipher;
  outboundXor?: Cipher;
  /** Bytes that no one has taken yet, decrypted. */
  readonly readBuffer: Buffered;
  /** Bytes that were sent and are not encrypted yet. */
  readonly writeBuffer: Buffered;
}

const LENGTH_BYTES = 2;
/** Of Noise's pattern XX. */
const MESSAGES = { initiator: 2, responder: 1 } as const;

/** Finds the end of a number of messages in a stream. */
export class MessageCounter {
  #messages: number;
  /** Bytes before the first message. */
  #skip: number;
  /** Bytes of the length that were read, and its value so far. */
  #lengthBytes = 0;
  #length = 0;
  /** Bytes of the message that are still to come. */
  #left = 0;

  constructor(messages: number, skip: number) {
    this.#messages = messages;
    this.#skip = skip;
  }

  get done(): boolean {
    return this.#messages === 0;
  }

  /** How many of the next bytes can be read before the stream is looked at again; at least one. */
  get known(): number {
    if (this.#skip > 0) return this.#skip;
    return this.#left > 0 ? this.#left : LENGTH_BYTES - this.#lengthBytes;
  }

  /** The next bytes of the stream, at most `known`. */
  take(bytes: Uint8Array): void {
    if (this.#skip > 0) {
      this.#skip -= bytes.length;
      return;
    }
    if (this.#left > 0) this.#left -= bytes.length;
    else {
      for (const byte of bytes) this.#length = this.#length * 256 + byte;
      this.#lengthBytes += bytes.length;
      if (this.#lengthBytes < LENGTH_BYTES) return;
      this.#left = this.#length;
    }
    if (this.#left > 0) return;
    this.#messages--;
    this.#lengthBytes = 0;
    this.#length = 0;
  }
}

/** `plainOf`: whether the counter reads what goes into the cipher or what comes out of it. */
function counted(cipher: Cipher, counter: MessageCounter, plainIs: "input" | "output"): Cipher {
  return {
    update: (bytes) => {
      if (counter.done) return bytes;
      const out: Uint8Array[] = [];
      for (let at = 0; at < bytes.length;) {
        if (counter.done) {
          out.push(bytes.subarray(at));
          break;
        }
        const part = bytes.subarray(at, at + counter.known);
        const changed = cipher.update(part);
        counter.take(plainIs === "input" ? part : changed);
        out.push(changed);
        at += part.length;
      }
      return out.length === 1 ? out[0]! : Buffer.concat(out);
    },
    final: () => cipher.final(),
  };
}

/** Called before the first message of the handshake is sent or read. A connection without a private network stays as it is. */
export function endCipherAfterHandshake(connection: unknown, role: keyof typeof MESSAGES): void {
  const inner = connection as Protected;
  const { inboundXor, outboundXor, readBuffer, writeBuffer } = inner;
  if (inboundXor === undefined || outboundXor === undefined) return;
  const other = role === "initiator" ? "responder" : "initiator";
  const incoming = new MessageCounter(MESSAGES[other], 0);
  const early = readBuffer.byteLength === 0 ? new Uint8Array(0) : readBuffer.subarray();
  for (let at = 0; at < early.length && !incoming.done;) {
    const part = early.subarray(at, at + incoming.known);
    incoming.take(part);
    at += part.length;
  }
  inner.inboundXor = counted(inboundXor, incoming, "output");
  inner.outboundXor = counted(
    outboundXor,
    new MessageCounter(MESSAGES[role], writeBuffer.byteLength),
    "input",
  );
}
