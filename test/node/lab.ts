/**
 * Whole pipelines (capture, drain, replica, reflect) on real files, without Raft: the log is a list that the test fills
 * and delivers, so that it controls a schedule step by step.
 */
import { asPeerId } from "../../src/base/ids.ts";
import { Database } from "bun:sqlite";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../silent-logger.ts";
import { install } from "../../src/capture/install.ts";
import { Spool } from "../../src/capture/spool.ts";
import { settingOf } from "../../src/change/per-table.ts";
import { UnseenRows } from "../../src/rows/unseen-rows.ts";
import type { PendingRows } from "../../src/change/pending-rows.ts";
import { encodeImage, imageHash } from "../../src/change/codec.ts";
import { keyIdOfImage } from "../../src/change/key.ts";
import { formCluster, type FormClusterOptions } from "../../src/node/startup/form-cluster.ts";
import type { AppDbReader } from "../../src/app-db/reader.ts";
import { dataPaths, type DataPaths } from "../../src/replication/machine/data-paths.ts";
import { Measures } from "../../src/replication/measures/measures.ts";
import { Pipeline } from "../../src/replication/pipeline/pipeline.ts";
import { SchemaCoordinator } from "../../src/schema-sync/coordinator.ts";
import { EntryType, type Entry } from "../../src/raft/model/types.ts";
import { openAppDbConnection } from "../../src/reflect/app-db-connection.ts";
import { reserveIds } from "../../src/reflect/id-blocks.ts";
import { installSnapshot, prepareSnapshot } from "../../src/replica/copies/install-snapshot.ts";
import { buildAppDb } from "../../src/replica/copies/build-app-db.ts";
import { type OpenReplica, openReplica } from "../../src/replica/open-replica.ts";
import { exactRows } from "../../src/rows/exact-rows.ts";
import { deviations } from "./deviations.ts";

/** Slots of id blocks, of which node i has the i-th. */
const SLOTS = 8;

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-lab-"));
  readonly nodes: LabNode[] = [];
  /** The log of each shard: entry i has index i + 2, after the position of the cluster bootstrap. */
  readonly order: Entry[][];
  /** Number of the node that leads a shard and proposes its markers; null: no node does. */
  readonly leaders: (number | null)[];
  clock = 1000;

  private constructor(shards: number, count: number) {
    this.order = Array.from({ length: shards }, () => []);
    this.leaders = this.order.map((_, shard) => shard % count);
  }

  static async create(
    schema: string,
    count: number,
    shards = 1,
    transactions: "whole" | "row" = "whole",
    exclude: readonly string[] = [],
    settings: Pick<FormClusterOptions, "merge" | "foreignKeys" | "idBlock"> = {},
  ): Promise<Lab> {
    const lab = new Lab(shards, count);
    const first = join(lab.folder, "n0.db");
    const db = new Database(first, { create: true });
    db.exec(`PRAGMA journal_mode = WAL; ${schema}`);
    db.close();
    const paths = dataPaths(`${first}.marmot`);
    mkdirSync(paths.folder);
    const selection = { tables: null, exclude };
    await formCluster(
      {
        db: first,
        paths,
        peerId: asPeerId("peer-0"),
        name: "n0",
        shards,
        transactions,
        selection,
        ...settings,
      },
      { clock: systemClock, onProgress: () => {} },
    );
    for (let i = 1; i < count; i++) {
      const file = join(lab.folder, `n${i}.db`);
      const own = dataPaths(`${file}.marmot`);
      mkdirSync(own.folder);
      copyFileSync(paths.replica, own.replica);
      const positions = lab.order.map(() => ({ index: 1, term: 1 }));
      prepareSnapshot(own.replica, null, `peer-${i}`, { positions, configurations: [] });
      await buildAppDb({
        replica: own.replica,
        appDb: file,
        prepare: (fresh, { clusterId, idBlock }, shapes, position) => {
          install(fresh, shapes, { clusterId, peerId: `peer-${i}`, schemaVersion: 1, position });
          reserveIds(fresh, shapes, (table) => settingOf(idBlock, table), { slot: i, slots: SLOTS });
        },
      });
    }
    for (let i = 0; i < count; i++) lab.nodes.push(new LabNode(lab, i));
    for (const node of lab.nodes) node.open();
    return lab;
  }

  /** Appends the proposals to the log, node by node, and delivers all entries to each node until no work is left. */
  settle(nodes: readonly LabNode[] = this.nodes): void {
    for (let round = 0; round < 1000; round++) {
      let busy = false;
      for (const node of nodes) {
        node.touch();
        node.turns();
        if (node.order() > 0) busy = true;
      }
      for (const node of nodes) if (node.deliver() > 0) busy = true;
      this.clock += 100;
      for (const node of nodes) {
        node.pipeline.tick();
        node.turns();
        const { outbox } = node.pipeline;
        if (!outbox.idle || outbox.fencing().length > 0 || node.pending.size > 0) busy = true;
        if (node.replica.replica.queued > 0) busy = true;
        if (node.pipeline.schemaDue && node.pipeline.obstacle === null) busy = true;
      }
      if (!busy) return;
    }
    throw new Error("the lab does not come to rest");
  }

  append(shard: number, data: Uint8Array): void {
    const list = this.order[shard]!;
    list.push({ term: 1, index: list.length + 2, type: EntryType.normal, data });
  }

  close(): void {
    for (const node of this.nodes) node.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class LabNode {
  readonly number: number;
  readonly file: string;
  readonly peerId: string;
  readonly #lab: Lab;
  readonly #paths: DataPaths;
  #incarnation = 0;
  /** Newest log ids at Marmot's last commit in L: the guarantee holds at these moments. */
  #atCommit = new Map<number, number>();
  pipeline!: Pipeline;
  replica!: OpenReplica;
  schema!: SchemaCoordinator;
  /** Rows that no trigger saw, of which a test says that a comparison found them. */
  unseen = new UnseenRows();
  appDb!: DatabaseSync;
  app!: Database;
  /** Proposed and not in the log: they may be lost, repeated or late. */
  proposed: { shard: number; data: Uint8Array }[] = [];
  /** Delivered entries of each shard. */
  delivered: number[];

  constructor(lab: Lab, number: number) {
    this.#lab = lab;
    this.number = number;
    this.file = join(lab.folder, `n${number}.db`);
    this.peerId = `peer-${number}`;
    this.#paths = dataPaths(`${this.file}.marmot`);
    this.delivered = lab.order.map(() => 0);
  }

  get pending(): PendingRows {
    return this.pipeline.session.pending;
  }

  get reader(): AppDbReader {
    return this.pipeline.session.reader;
  }

  get lostFile(): string {
    return this.#paths.rejects;
  }

  get replicaFile(): string {
    return this.#paths.replica;
  }

  open(): void {
    this.replica = openReplica(this.#paths.replica, this.peerId);
    const { replica } = this.replica;
    const shards = this.#lab.order.length;
    this.delivered = replica.positions().map((index) => index - 1);
    const connection = openAppDbConnection(this.file, []);
    this.appDb = connection.db;
    const schema = (this.schema = new SchemaCoordinator({
      file: this.file,
      replicaFile: this.#paths.replica,
      rejectsFile: this.#paths.rejects,
      peerId: this.peerId,
      connection,
      replica,
      place: () => ({ slot: this.number, slots: SLOTS }),
      logger: silentLogger,
      unseen: (this.unseen = new UnseenRows()),
    }));
    this.pipeline = new Pipeline(
      {
        replica,
        schema,
        spool: new Spool(this.#paths.spool),
        syncAppDb: () => {},
        onOwnCommit: () => {
          this.#atCommit = this.reader.newestIds();
        },
        propose: (shard, data) => {
          this.proposed.push({ shard, data });
          return "forwarded";
        },
        leads: (shard) => this.#lab.leaders[shard] === this.number,
        nextIncarnation: (atLeast) => (this.#incarnation = Math.max(this.#incarnation, atLeast) + 1),
        measures: new Measures(),
        now: () => this.#lab.clock,
        wallTime: () => 1_700_000_000_000,
        logger: silentLogger,
      },
      { peerId: this.peerId, shards },
    );
    this.pipeline.openIncarnation();
    this.app = new Database(this.file, { safeIntegers: true });
    this.app.exec("PRAGMA busy_timeout = 0");
  }

  /** kill -9: proposals that are not ordered may still arrive later; the caller decides. */
  crash(): void {
    this.close();
    this.open();
  }

  /** Stopped: the application writes, and the other nodes continue. */
  stopped(write: (app: Database) => void, meanwhile: () => void = () => {}): void {
    this.close();
    const app = new Database(this.file);
    write(app);
    app.close();
    meanwhile();
    this.open();
  }

  /** Saves both files in their current state, as a power failure may leave one of them. */
  keep(): void {
    this.replica.db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    this.appDb.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    copyFileSync(this.#paths.replica, `${this.#paths.replica}.kept`);
    copyFileSync(this.file, `${this.file}.kept`);
  }

  /**
   * A power failure: one of the files returns to its saved state. `write`: writes of the application before Marmot
   * starts again.
   */
  lose(what: "live" | "replica", write: (app: Database) => void = () => {}): void {
    this.close();
    const path = what === "live" ? this.file : this.#paths.replica;
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
    copyFileSync(`${path}.kept`, path);
    const app = new Database(this.file);
    write(app);
    app.close();
    this.open();
  }

  /** Installs the replica of another node, as a node does whose log ends before the leader's log begins. */
  async adopt(from: LabNode): Promise<boolean> {
    this.close();
    from.replica.checkpoint();
    const received = this.#paths.nextReplica;
    copyFileSync(from.#paths.replica, received);
    const { replica } = from.replica;
    const positions = replica.positions().map((index, shard) => ({ index, term: replica.term(shard) }));
    prepareSnapshot(received, null, this.peerId, { positions, configurations: [] });
    const done = await installSnapshot({
      ...{ replica: this.#paths.replica, received, peerId: this.peerId, appDb: this.file },
      onProgress: () => {},
    });
    this.open();
    return done;
  }

  close(): void {
    this.app.close();
    this.pipeline.close();
    this.appDb.close();
    this.replica.close();
  }

  run(...statements: string[]): void {
    for (const sql of statements) this.app.exec(sql);
  }

  query(sql: string): unknown[][] {
    return this.app.query(sql).values() as unknown[][];
  }

  touch(): void {
    this.pipeline.touch();
  }

  /** Runs turns until no immediate work is left. */
  turns(): void {
    for (let i = 0; i < 1000; i++) if (this.pipeline.turn().again !== "now") return;
    throw new Error("the pipeline does not come to rest");
  }

  /** Appends the proposals to the log. Returns their number. */
  order(): number {
    const count = this.proposed.length;
    for (const { shard, data } of this.proposed.splice(0)) this.#lab.append(shard, data);
    return count;
  }

  /** Delivers up to `count` entries of each shard, or of the given shards. Returns their number. */
  deliver(
    count = Number.POSITIVE_INFINITY,
    shards: readonly number[] = this.#lab.order.keys().toArray(),
  ): number {
    let handed = 0;
    this.#lab.order.forEach((list, shard) => {
      if (!shards.includes(shard)) return;
      const from = this.delivered[shard]!;
      const entries = list.slice(from, from + count);
      if (entries.length === 0) return;
      this.pipeline.committed(shard, entries);
      this.delivered[shard] = from + entries.length;
      handed += entries.length;
    });
    return handed;
  }

  /** Applies the delivered entries to S only, as while an application holds the write lock. */
  applyOnly(): void {
    this.app.exec("BEGIN IMMEDIATE");
    this.turns();
    this.app.exec("ROLLBACK");
  }

  /** Each deviation of L from S with the unacknowledged rows on top; valid only right after a reflection. */
  deviations(): string[] {
    const { replica, db } = this.replica;
    return deviations({
      appDb: this.appDb,
      replica: db,
      shapes: replica.shapes.values(),
      encoding: replica.settings.encoding,
      session: this.pipeline.session,
      source: replica,
      returnsLater: ({ id }, keyId) =>
        this.reader.newestIds().get(id) !== this.#atCommit.get(id) &&
        this.pipeline.session.withheld.get(id, keyId) !== undefined,
    });
  }

  /** Tables whose stored checksum differs from the sum over the rows; each row counts in the shard to which it is routed. */
  wrongChecksums(): string[] {
    const { replica, db } = this.replica;
    const sums = new Map<string, bigint>();
    for (const shape of replica.shapes.values())
      for (const image of exactRows(db, shape, replica.settings.encoding)) {
        const name: string = `${replica.shardOfKey(shape.id, keyIdOfImage(shape, image))}/${shape.id}`;
        sums.set(name, BigInt.asUintN(64, (sums.get(name) ?? 0n) + imageHash(encodeImage(image))));
      }
    const kept = new Map<string, bigint>(
      this.#lab.order.flatMap((_, shard) =>
        replica.checksums.ofShard(shard).map(([table, sum]) => [`${shard}/${table}`, BigInt(sum)] as const),
      ),
    );
    return [...new Set([...sums.keys(), ...kept.keys()])].filter(
      (name) => (sums.get(name) ?? 0n) !== (kept.get(name) ?? 0n),
    );
  }
}
