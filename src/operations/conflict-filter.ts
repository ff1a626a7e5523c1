/** Chooses entries of the conflict journal by table, time or position, origin and state. */
import { UserError } from "../base/errors.ts";
import { parseMoment } from "../base/text/moment.ts";
import { isSameName } from "../base/names.ts";
import { hasReached, parsePosition } from "../base/text/position-token.ts";
import type { StoredConflict } from "../replica/conflicts/journal.ts";
import { peerHash } from "../replica/store/tables.ts";
import type { Replicator } from "../replication/replicator.ts";
import type { ConflictFilter } from "./api.ts";

/** The chosen entries, the newest first. Throws `UserError` for a table, node or time that is none. */
export function* chosenConflicts(
  replicator: Replicator,
  filter: ConflictFilter,
  now: number,
): Generator<StoredConflict, void> {
  const { journal } = replicator.replica.replica;
  const tests = [
    tableTest(replicator, filter.table),
    sinceTest(replicator, filter.since, now),
    originTest(replicator, filter.origin),
  ];
  for (const conflict of journal.newest()) {
    if (!tests.every((test) => test(conflict))) continue;
    if (filter.open && journal.states.of(conflict.shard, conflict.index, conflict.ordinal) !== null) continue;
    yield conflict;
  }
}

type Test = (conflict: StoredConflict) => boolean;

const any: Test = () => true;

function tableTest(replicator: Replicator, table: string | null): Test {
  if (table === null) return any;
  const { shapes } = replicator.replica.replica;
  const nameOf = (c: StoredConflict): string | undefined => c.note?.table ?? shapes.get(c.table)?.name;
  const names = [...shapes.values()].map((s) => s.name);
  const known = names.some((name) => isSameName(name, table));
  // A table that was dropped may have conflicts, too.
  if (!known && ![...replicator.replica.replica.journal.newest()].some((c) => isSameName(nameOf(c), table)))
    throw new UserError(`no table ${table} replicates`, `name one of ${names.join(", ")}, or none for all`);
  return (conflict) => isSameName(nameOf(conflict), table);
}

function sinceTest(replicator: Replicator, since: string | null, now: number): Test {
  if (since === null) return any;
  const position = parsePosition(since);
  if (position !== null) {
    const { shards } = replicator.replica.replica.settings;
    if (position.length !== shards)
      throw new UserError(
        `${since} is a position of a cluster with ${position.length} shards; this one has ${shards}`,
        "marmot wait --json prints a position of this cluster",
      );
    return ({ shard, index }) => !hasReached([position[shard]!], [index]);
  }
  const time = parseMoment(since, now);
  if (time === null)
    throw new UserError(
      `since should be a time, how long ago, or a position, not ${since}`,
      "use 2026-11-29T12:00:00Z, 10m or c:812",
    );
  return (conflict) => conflict.time >= time;
}

/** `named`: a member's name, or the peer id of any node, also of one that was removed. */
export function originTest(replicator: Replicator, named: string | null): Test {
  if (named === null) return any;
  const { members } = replicator.runtime.groups[0]!.configuration;
  const member = members.find((m) => m.name === named || m.peerId === named);
  const hash = peerHash(member?.peerId ?? named);
  if (member === undefined && replicator.replica.replica.origins.peerOf(hash) === "")
    throw new UserError(
      `no node ${named} is known`,
      `name one of ${members.map((m) => m.name).join(", ")}, or give a peer id of marmot conflicts list --json`,
    );
  return (conflict) => conflict.losingOrigin === hash;
}
