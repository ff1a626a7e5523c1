/** zstd: small pieces at once, large ones beside the event loop. */

/** Takes about a millisecond. */
const AT_ONCE_BYTES = 256 << 10;

export function compress(bytes: Uint8Array, level: number): Promise<Uint8Array> {
  const plain = bytes as Uint8Array<ArrayBuffer>;
  return bytes.length <= AT_ONCE_BYTES
    ? Promise.resolve(Bun.zstdCompressSync(plain, { level }))
    : Bun.zstdCompress(plain, { level });
}

/** Rejects bytes that are not compressed. */
export async function decompress(bytes: Uint8Array): Promise<Uint8Array> {
  const packed = bytes as Uint8Array<ArrayBuffer>;
  return packed.length <= AT_ONCE_BYTES ? Bun.zstdDecompressSync(packed) : Bun.zstdDecompress(packed);
}

/** For pieces of a copy, which are large and follow each other: another thread does the work. */
export const decompressBeside = (bytes: Uint8Array): Promise<Uint8Array> =>
  Bun.zstdDecompress(bytes as Uint8Array<ArrayBuffer>);
