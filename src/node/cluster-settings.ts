/** The settings of the cluster, fixed when it is formed, against the options of a node. */
import { UserError } from "../base/errors.ts";
import { foldName } from "../base/names.ts";
import { showPerTable } from "../change/per-table.ts";
import { readSettings, type ReplicaSettings } from "../replica/store/settings.ts";
import { openDatabase } from "../sqlite/open.ts";
import type { NodeOptions } from "./options.ts";

/** The settings that the replica file `path` holds. */
export function readClusterSettings(path: string): ReplicaSettings {
  const db = openDatabase(path, { readOnly: true });
  try {
    return readSettings(db, path);
  } finally {
    db.close();
  }
}

/** Throws `UserError` for an option that differs from the cluster's setting. */
export function checkClusterSettings(options: NodeOptions, settings: ReplicaSettings): void {
  const { shards, transactions, merge, foreignKeys, idBlock } = options;
  const hasShards = settings.shards > 1;
  const pairs = [
    ["shards", shards, settings.shards],
    ["transactions", hasShards ? transactions : null, settings.transactions],
    ["merge", merge === null ? null : showPerTable(merge), showPerTable(settings.merge)],
    ["foreign-keys", foreignKeys, settings.foreignKeys],
    ["id-block", idBlock === null ? null : showPerTable(idBlock), showPerTable(settings.idBlock)],
  ] as const;
  for (const [option, given, has] of pairs)
    if (given !== null && given !== has)
      throw new UserError(
        `--${option} ${given} was given, but the cluster has ${has}`,
        `leave out --${option}: the setting of the cluster applies to every node`,
      );
  const selections = [
    ["tables", options.tables, settings.selection.tables],
    ["exclude", options.exclude, settings.selection.exclude],
  ] as const;
  for (const [option, given, has] of selections)
    if (given !== null && foldedSet(given) !== foldedSet(has ?? []))
      throw new UserError(
        `--${option} ${given.join(",")} was given, but the cluster ${has === null || has.length === 0 ? "was formed without it" : `has ${has.join(",")}`}`,
        `leave out --${option}: the tables of the cluster are replicated on every node`,
      );
}

const foldedSet = (names: readonly string[]): string =>
  JSON.stringify([...new Set(names.map(foldName))].sort());

/** The effect of several shards on transactions and speed, as a sentence; null: there is one shard. */
export function shardsNote({ shards, transactions }: ReplicaSettings): string | null {
  if (shards === 1) return null;
  return transactions === "row"
    ? "several shards: rows are ordered one by one (--transactions row), a transaction can be seen in parts"
    : "several shards: transactions stay whole (--transactions whole); that orders them, but does not scale with the shards: only --transactions row does";
}
