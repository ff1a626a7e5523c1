/**
 * `marmot verify`: a check entry in the order makes every node record its checksums at one position; then they are
 * compared, and this node's file with its replica row by row. `deep` fetches the other replicas and compares rows.
 */
import type { DatabaseSync } from "node:sqlite";
import { rmSync } from "node:fs";
import { randomBytes } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import { BatchKind } from "../../change/batch.ts";
import { encodeBatch } from "../../change/codec.ts";
import { type KeyId, keyValues } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { TextBytes, type Value } from "../../change/value.ts";
import { compareRows, type RowDifference } from "../../replica/copies/compare-rows.ts";
import { readSettings } from "../../replica/store/settings.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import type { VerifyDifference, VerifyResult } from "../api.ts";
import type { Control } from "../../replication/control-messages.ts";
import { fetchReplica } from "../../node/startup/join-cluster.ts";
import type { Member } from "../../replication/replicator.ts";

const LOOK_MS = 20;
const ASK_MS = 100;
const DIFFERENCES_SHOWN = 1000;

type Sums = Extract<Control, { kind: "sums" }>["shards"];

const sleep = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, resolve));
const yieldToLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A value as an SQL literal. */
export function sqlLiteral(value: Value): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return `'${value.replaceAll("'", "''")}'`;
  if (typeof value === "number") return Number.isInteger(value) ? value.toFixed(1) : String(value);
  if (typeof value === "bigint") return String(value);
  const bytes = value instanceof TextBytes ? value.bytes : value;
  const hex = `x'${Buffer.from(bytes).toString("hex")}'`;
  return value instanceof TextBytes ? `CAST(${hex} AS TEXT)` : hex;
}

export const showKey = (shape: TableShape, keyId: KeyId): string =>
  keyValues(shape, keyId).map(sqlLiteral).join(", ");

export interface VerifyComponents {
  readonly member: Member;
  readonly transport: Transport;
  readonly clock: Clock;
}

export async function verify(
  components: VerifyComponents,
  options: { readonly deep: boolean; readonly repair: boolean; readonly timeoutMs: number },
): Promise<VerifyResult> {
  const { member, clock } = components;
  const end = clock.now() + options.timeoutMs;
  const differences: VerifyDifference[] = [];
  const { own, answers, missing } = await collectSums(components, end);
  for (const [peer, sums] of answers) {
    const before = differences.length;
    compareSums(member, own, sums, member.nameOf(peer), differences);
    member.agreement.set(peer, differences.length === before);
  }
  let rows = await compareFile(member, options.repair, differences);
  if (options.deep)
    for (const peer of answers.keys()) rows += await compareDeep(components, peer, differences);
  return {
    equal: differences.length === 0,
    positions: own.map((s) => s?.index ?? 0),
    nodes: [member.options.name, ...[...answers.keys()].map((p) => member.nameOf(p))],
    missing,
    rows,
    differences: differences.slice(0, DIFFERENCES_SHOWN),
  };
}

async function collectSums(
  { member, transport, clock }: VerifyComponents,
  end: number,
): Promise<{ own: Sums; answers: Map<PeerId, Sums>; missing: string[] }> {
  const note = randomBytes(8).toString("hex");
  const answers = new Map<PeerId, Sums>();
  const others = member.runtime.groups[0]!.configuration.members.filter(
    (m) => m.peerId !== member.options.peerId,
  );
  member.onSums = (from, control) => {
    if (control.note === note) answers.set(from, control.shards);
  };
  let proposedAt = Number.NEGATIVE_INFINITY;
  let askedAt = Number.NEGATIVE_INFINITY;
  try {
    for (;;) {
      const own = member.checks(note);
      const now = clock.now();
      const open = own.flatMap((s, shard) => (s === null ? [shard] : []));
      if (open.length > 0 && now - proposedAt > 2000) {
        proposedAt = now;
        for (const shard of open) member.runtime.propose(shard, checkBatch(member, note, clock));
        member.loop.wake();
      }
      const agreed = (peer: PeerId): boolean =>
        answers.get(peer)?.every((s, shard) => s !== null && s.index === own[shard]?.index) ?? false;
      const connected = new Set(transport.connected());
      const late = others.filter((m) => connected.has(m.peerId) && !agreed(m.peerId));
      if ((open.length === 0 && late.length === 0) || now >= end) {
        for (const m of others) if (!agreed(m.peerId)) answers.delete(m.peerId);
        if (open.length > 0)
          throw new Error(`no quorum ordered the check in shard ${open.join(", ")} in time`);
        const missing = others.filter((m) => !agreed(m.peerId)).map((m) => m.name);
        return { own, answers, missing };
      }
      if (open.length === 0 && now - askedAt > ASK_MS) {
        askedAt = now;
        member.tellAll({ kind: "sums?", note });
      }
      await sleep(clock, LOOK_MS);
    }
  } finally {
    member.onSums = null;
  }
}

function checkBatch(member: Member, note: string, clock: Clock): Uint8Array {
  return encodeBatch({
    kind: BatchKind.check,
    origin: member.options.peerId,
    incarnation: 0,
    csn: 0,
    part: 1,
    parts: 1,
    previousCsn: 0,
    schemaVersion: 0,
    bases: [],
    after: [],
    watermarks: [],
    time: clock.wallTime(),
    note,
    tables: [],
  });
}

function compareSums(
  member: Member,
  own: Sums,
  theirs: Sums,
  node: string,
  differences: VerifyDifference[],
): void {
  own.forEach((mine, shard) => {
    const sums = new Map(theirs[shard]?.sums ?? []);
    const tables = new Set([...(mine?.sums ?? []).map(([t]) => t), ...sums.keys()]);
    for (const table of tables) {
      const left = mine?.sums.find(([t]) => t === table)?.[1] ?? "0";
      const right = sums.get(table) ?? "0";
      if (left === right) continue;
      const name = member.replica.replica.shapes.get(table)?.name ?? `table ${table}`;
      differences.push({
        kind: "replica",
        node,
        table: name,
        key: "",
        detail: `checksum ${right} in shard ${shard}, here ${left}`,
      });
    }
  });
}

/** This node's file against its replica: pending and shadowed rows aside, they must be the same. */
async function compareFile(
  member: Member,
  repair: boolean,
  differences: VerifyDifference[],
): Promise<number> {
  const { replica } = member.replica;
  const appDb = openAppDb(member.options.db, { readOnly: true });
  const state = openDatabase(member.options.paths.replica, {
    readOnly: true,
  });
  try {
    // Both snapshots begin in one turn of the loop, in which the file shows just what the replica holds.
    for (let attempt = 0; ; attempt++) {
      const reflected = member.readiness.reflected;
      const hasSchema = !member.pipeline.schemaDue && !member.reader.schemaMovedBeside();
      if (
        hasSchema &&
        replica.betweenEntries &&
        replica.positions().every((index, shard) => index === reflected[shard])
      )
        break;
      if (attempt > 1000)
        throw new Error(
          "the file does not keep up with the replica: is the application holding its write lock?",
        );
      member.loop.wake();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const db of [appDb, state]) {
      db.exec("BEGIN");
      db.prepare("SELECT count(*) FROM sqlite_schema").get();
    }
    const unsettled = pendingKeys(appDb, member);
    const found: RowDifference[] = [];
    const rows = await compareRows({
      left: state,
      right: appDb,
      shapes: [...replica.shapes.values()],
      encoding: replica.settings.encoding,
      skip: (table, keyId) => unsettled.has(`${table}/${keyId}`) || member.pipeline.isDeferred(table, keyId),
      onDifference: (difference) => found.push(difference) < DIFFERENCES_SHOWN,
      pause: yieldToLoop,
    });
    for (const { table, keyId, left, right } of found) {
      const detail =
        right === null ? "missing in the file" : left === null ? "only in the file" : "the images differ";
      const key = showKey(table, keyId);
      const mended = repair ? "; repaired" : "";
      differences.push({
        kind: "file",
        node: member.options.name,
        table: table.name,
        key,
        detail: detail + mended,
      });
      if (repair)
        replica.changed.set(table.id, keyId, {
          key: keyValues(table, keyId),
          image: replica.row(table.id, keyValues(table, keyId)),
        });
    }
    if (repair && found.length > 0) member.loop.wake();
    return rows;
  } finally {
    appDb.close();
    state.close();
  }
}

/** Keys with unacknowledged change-log rows, in the snapshot of `appDb`. */
function pendingKeys(appDb: DatabaseSync, member: Member): Set<string> {
  const keys = new Set<string>();
  const { shapes, settings } = member.replica.replica;
  const acknowledged = readAcknowledged(appDb);
  for (const { id, log } of readChangeLogs(appDb)) {
    const shape = shapes.get(id);
    if (shape === undefined) continue;
    const reader = new ChangeLogReader(selectsOf(appDb), { shape, log, encoding: settings.encoding });
    for (const [, keyId] of reader.keyIds(acknowledged.get(id) ?? 0)) keys.add(`${id}/${keyId}`);
  }
  return keys;
}

/** Fetches a peer's replica and compares rows; those that one side wrote after the other's position are left out. */
async function compareDeep(
  { member, transport, clock }: VerifyComponents,
  peer: PeerId,
  differences: VerifyDifference[],
): Promise<number> {
  const { replica } = member.replica;
  const path = `${member.options.paths.incoming}/verify.db`;
  const node = member.nameOf(peer);
  try {
    await fetchReplica(peer, path, { transport, clock, onProgress: () => {} }, AbortSignal.timeout(120_000));
  } catch (error) {
    differences.push({
      kind: "replica",
      node,
      table: "",
      key: "",
      detail: `its replica could not be fetched: ${errorMessage(error)}`,
    });
    return 0;
  }
  const theirs = openDatabase(path, { readOnly: true });
  const ours = openDatabase(member.options.paths.replica, { readOnly: true });
  try {
    ours.exec("BEGIN");
    const version = (db: DatabaseSync): number => readSettings(db, "the replica").schemaVersion;
    if (version(ours) !== version(theirs)) {
      const detail = "its schema changed meanwhile: verify again";
      differences.push({ kind: "replica", node, table: "", key: "", detail });
      return 0;
    }
    const positions = (db: DatabaseSync): number[] =>
      (db.prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`).all() as { idx: number }[]).map(
        (r) => r.idx,
      );
    const [a, b] = [positions(ours), positions(theirs)];
    const last = [ours, theirs].map((db) =>
      db.prepare(`SELECT "shard", "idx" FROM "__marmot__key" WHERE "tbl" = ? AND "key" = ?`),
    );
    // An entry of shard 0 may have written a row that is routed elsewhere: the position says in which log.
    const later = (table: number, keyId: KeyId): boolean =>
      last.some((s) => {
        const written = s.get(table, keyId) as { shard: number; idx: number } | undefined;
        return written !== undefined && written.idx > Math.min(a[written.shard]!, b[written.shard]!);
      });
    return await compareRows({
      left: ours,
      right: theirs,
      shapes: [...replica.shapes.values()],
      encoding: replica.settings.encoding,
      skip: later,
      onDifference: ({ table, keyId, left, right }) => {
        const detail = right === null ? "missing there" : left === null ? "only there" : "the images differ";
        return (
          differences.push({ kind: "replica", node, table: table.name, key: showKey(table, keyId), detail }) <
          DIFFERENCES_SHOWN
        );
      },
      pause: yieldToLoop,
    });
  } finally {
    theirs.close();
    ours.close();
    rmSync(path, { force: true });
  }
}
