/** Hostile inputs from valid ones: bits flipped, parts cut, repeated, moved, invented, and numbers made extreme. */
import type { Random } from "../../src/base/random.ts";

/** Bytes that begin something in MessagePack, JSON, frames or numbers. */
const TELLING = [
  0, 1, 0x7f, 0x80, 0x90, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xcb, 0xd3, 0xd4, 0xdb, 0xdc, 0xdd, 0xdf, 0xff,
];
const TEXTS = [
  '"',
  "\\",
  "{",
  "[[[[",
  "__proto__",
  "\u0000",
  "\u001b[2J",
  "-1",
  "1e999",
  "9007199254740993",
  "null",
];

export function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

const STEPS: readonly ((bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array)[] = [
  (bytes, random) => {
    const out = bytes.slice();
    for (let i = random.between(1, 4); i > 0 && out.length > 0; i--)
      out[random.below(out.length)]! ^= 1 << random.below(8);
    return out;
  },
  (bytes, random) => {
    const out = bytes.slice();
    if (out.length > 0) out[random.below(out.length)] = random.pick(TELLING);
    return out;
  },
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, random) => bytes.slice(random.below(bytes.length + 1)),
  (bytes, random) => {
    const from = random.below(bytes.length + 1);
    const to = random.between(from, bytes.length);
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from, to), bytes.subarray(to)]);
  },
  (bytes, random) => {
    const from = random.below(bytes.length + 1);
    const to = random.between(from, bytes.length);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (bytes, random) => {
    const at = random.below(bytes.length + 1);
    return Buffer.concat([
      bytes.subarray(0, at),
      randomBytes(random, random.between(1, 12)),
      bytes.subarray(at),
    ]);
  },
  (bytes, random) => {
    const at = random.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), Buffer.from(random.pick(TEXTS)), bytes.subarray(at)]);
  },
  (bytes, random, other) =>
    Buffer.concat([
      bytes.subarray(0, random.below(bytes.length + 1)),
      other.subarray(random.below(other.length + 1)),
    ]),
  (bytes, random) => {
    const out = Buffer.from(bytes);
    const width = random.pick([2, 4, 8]);
    if (out.length < width) return out;
    const at = random.below(out.length - width + 1);
    out.fill(random.pick([0, 0xff, 0x7f, 0x80]), at, at + width);
    return out;
  },
];

/** Mostly a mutation of one of the samples; now and then random bytes, or a sample itself. */
export function hostile(samples: readonly Uint8Array[], random: Random): Uint8Array {
  if (random.chance(0.03)) return randomBytes(random, random.below(200));
  let bytes = random.pick(samples);
  for (let steps = random.below(4); steps > 0; steps--)
    bytes = random.pick(STEPS)(bytes, random, random.pick(samples));
  return bytes;
}

/** The bytes in pieces, as a network may deliver them. */
export function pieces(bytes: Uint8Array, random: Random): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const isSmall = bytes.length < 4096 && random.chance(0.3);
    const length = isSmall
      ? 1
      : random.between(Math.min(bytes.length - at, bytes.length >> 6), bytes.length - at);
    out.push(bytes.slice(at, at + length));
    at += length;
  }
  return out;
}
