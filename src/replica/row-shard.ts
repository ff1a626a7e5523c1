/** Which shard a row belongs to: the one place that turns a row into what routing hashes. */
import { type KeyId, routingKey } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { shardOf } from "../routing/shard-of.ts";

export const shardOfRow = (shape: TableShape, keyId: KeyId, shards: number): number =>
  shards === 1 ? 0 : shardOf(shape.name, shape.routedByName ? "" : routingKey(keyId), shards);
