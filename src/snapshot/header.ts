/** What goes before a replica's bytes: whose, where in the order, how many. JSON, and strictly read. */
import { fromUtf8, utf8 } from "../base/bytes.ts";
import type { GroupConfiguration } from "../shard/seams.ts";

export const SNAPSHOT_FORMAT = 1;

export interface SnapshotHeader {
  readonly clusterId: string;
  /** One per shard. */
  readonly positions: readonly { readonly index: number; readonly term: number }[];
  /** The groups' configurations at these positions. */
  readonly configurations: readonly GroupConfiguration[];
  /** Bytes of the replica that follow. */
  readonly size: number;
}

/** Bytes that are no snapshot of this format. */
export class SnapshotError extends Error {
  override name = "SnapshotError";
}

export const encodeHeader = (header: SnapshotHeader): Uint8Array =>
  utf8(JSON.stringify({ format: SNAPSHOT_FORMAT, ...header }));

export function decodeHeader(bytes: Uint8Array): SnapshotHeader {
  const value = parse(bytes);
  if (value.format !== SNAPSHOT_FORMAT)
    throw new SnapshotError(`a snapshot of format ${String(value.format)}`);
  const { clusterId, positions, configurations, size } = value;
  const isIndex = (x: unknown): boolean => typeof x === "number" && Number.isSafeInteger(x) && x >= 0;
  if (typeof clusterId !== "string" || !isIndex(size)) throw new SnapshotError("a malformed snapshot header");
  if (
    !Array.isArray(positions) ||
    !Array.isArray(configurations) ||
    positions.length !== configurations.length
  )
    throw new SnapshotError("a snapshot has a position and a configuration for every shard");
  for (const p of positions as { index?: unknown; term?: unknown }[])
    if (!isIndex(p?.index) || !isIndex(p?.term)) throw new SnapshotError("a malformed position");
  for (const c of configurations as Partial<GroupConfiguration>[])
    if (!isIndex(c?.index) || !Array.isArray(c?.members) || !Array.isArray(c?.configuration?.voters))
      throw new SnapshotError("a malformed configuration");
  return { clusterId, positions, configurations, size: size as number };
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(fromUtf8(bytes));
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Falls through to the error below.
  }
  throw new SnapshotError("not a snapshot");
}

/** The last chunk: a hash over all chunks before it. */
export const encodeTrailer = (hash: bigint): Uint8Array => utf8(JSON.stringify({ hash: hash.toString(16) }));

export const decodeTrailer = (bytes: Uint8Array): bigint => {
  const { hash } = parse(bytes);
  if (typeof hash !== "string" || !/^[0-9a-f]{1,16}$/.test(hash))
    throw new SnapshotError("a malformed trailer");
  return BigInt(`0x${hash}`);
};
