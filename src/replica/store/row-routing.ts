/** Maps a row to its shard. This is the only place that builds the text that routing hashes. */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, routingKey } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { groupNames } from "../../routing/groups.ts";
import { shardOf } from "../../routing/shard-of.ts";
import { queryOf } from "../../sqlite/query.ts";
import { readTable } from "../../sqlite/schema.ts";
import type { ReplicaSettings } from "./settings.ts";

export class RowRouting {
  readonly #shards: number;
  readonly #groups: ReadonlyMap<number, string>;

  /** `groups`: table id ⇒ name of the group of tables that are routed together. */
  constructor(shards: number, groups: ReadonlyMap<number, string>) {
    this.#shards = shards;
    this.#groups = groups;
  }

  /** A text that is equal for equal routing: rows of the table then belong to the same shards. */
  routeOf(shape: TableShape): string {
    if (this.#shards === 1) return "";
    const group = this.#groups.get(shape.id);
    const together = group !== undefined || shape.routedByName;
    return JSON.stringify([group ?? shape.name, together]);
  }

  shardOf(shape: TableShape, keyId: KeyId): number {
    if (this.#shards === 1) return 0;
    const group = this.#groups.get(shape.id);
    if (group !== undefined) return shardOf(group, "", this.#shards);
    return shardOf(shape.name, shape.routedByName ? "" : routingKey(keyId), this.#shards);
  }
}

/** The routing of a replica. With `transactions: row`, only UNIQUE constraints keep rows of a table together. */
export function readRouting(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  settings: Pick<ReplicaSettings, "shards" | "transactions">,
): RowRouting {
  if (settings.shards === 1 || settings.transactions === "row")
    return new RowRouting(settings.shards, new Map());
  const query = queryOf(db);
  const tables = shapes.map(({ id, name }) => ({ id, name, references: readTable(query, name).foreignKeys }));
  return new RowRouting(settings.shards, groupNames(tables));
}
