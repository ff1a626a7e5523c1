/**
 * Whole pipelines (capture, drain, replica, reflect) on real files, without Raft: the order is a list that the test fills
 * and hands out as it likes, so that a schedule can be told step by step.
 */
import { Database } from "bun:sqlite";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { silentLogger } from "../../src/base/logger.ts";
import { install, readCaptured } from "../../src/capture/install.ts";
import { Spool } from "../../src/capture/spool.ts";
import { settingOf } from "../../src/change/per-table.ts";
import { PendingRows } from "../../src/change/pending-rows.ts";
import type { ShadowedRows } from "../../src/change/shadowed-rows.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Image, imageEqual, type Value } from "../../src/change/value.ts";
import { type KeyId, keyIdOf, keyIdOfImage } from "../../src/change/key.ts";
import { type FoundOptions, found } from "../../src/node/genesis.ts";
import { BunLiveReader } from "../../src/node/live-reader.ts";
import { readLiveState } from "../../src/node/live-state.ts";
import { dataPaths, type DataPaths } from "../../src/node/paths.ts";
import { Pipeline } from "../../src/node/pipeline.ts";
import { EntryType, type Entry } from "../../src/raft/types.ts";
import { openLiveConnection } from "../../src/reflect/live-connection.ts";
import { IdBlocks, reserveIds } from "../../src/reflect/id-blocks.ts";
import { LiveLog } from "../../src/reflect/live-log.ts";
import { Reflector } from "../../src/reflect/reflector.ts";
import { replaceReplica, strip } from "../../src/replica/adopt.ts";
import { buildLive } from "../../src/replica/build-live.ts";
import { type OpenReplica, openReplica } from "../../src/replica/open.ts";
import { exactRows } from "../../src/schema/exact-rows.ts";
import { prepareExact, RowAccess } from "../../src/schema/row-access.ts";

/** Slots of id blocks, of which node i has the i-th. */
const SLOTS = 8;

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-lab-"));
  readonly nodes: LabNode[] = [];
  /** The order of each shard: entry i stands at index i + 2, after the founding position. */
  readonly order: Entry[][];
  clock = 1000;

  private constructor(shards: number) {
    this.order = Array.from({ length: shards }, () => []);
  }

  static async create(
    schema: string,
    count: number,
    shards = 1,
    settings: Pick<FoundOptions, "merge" | "foreignKeys" | "idBlock"> = {},
  ): Promise<Lab> {
    const lab = new Lab(shards);
    const first = join(lab.folder, "n0.db");
    const db = new Database(first, { create: true });
    db.exec(`PRAGMA journal_mode = WAL; ${schema}`);
    db.close();
    const paths = dataPaths(`${first}.marmot`);
    mkdirSync(paths.folder);
    const transactions = shards === 1 ? "whole" : "row";
    const selection = { tables: null, exclude: [] };
    await found(
      { db: first, paths, peerId: "peer-0", name: "n0", shards, transactions, selection, ...settings },
      () => {},
    );
    for (let i = 1; i < count; i++) {
      const file = join(lab.folder, `n${i}.db`);
      const own = dataPaths(`${file}.marmot`);
      mkdirSync(own.folder);
      copyFileSync(paths.replica, own.replica);
      const positions = lab.order.map(() => ({ index: 1, term: 1 }));
      strip(own.replica, null, `peer-${i}`, { positions, configurations: [] });
      await buildLive({
        replica: own.replica,
        live: file,
        incoming: own.incoming,
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

  /** What the nodes proposed goes into the order, node by node, and everything is handed to everybody until all is quiet. */
  settle(): void {
    for (let round = 0; round < 1000; round++) {
      let busy = false;
      for (const node of this.nodes) {
        node.touch();
        node.turns();
        if (node.order() > 0) busy = true;
      }
      for (const node of this.nodes) if (node.deliver() > 0) busy = true;
      this.clock += 100;
      for (const node of this.nodes) {
        node.pipeline.tick();
        node.turns();
        const { outbox } = node.pipeline;
        if (!outbox.idle || outbox.fencing().length > 0 || node.pending.size > 0) busy = true;
      }
      if (!busy) return;
    }
    throw new Error("the lab does not come to rest");
  }

  close(): void {
    for (const node of this.nodes) node.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class LabNode {
  readonly file: string;
  readonly peerId: string;
  readonly #lab: Lab;
  readonly #paths: DataPaths;
  readonly #number: number;
  #incarnation = 0;
  #shadows!: ShadowedRows;
  /** Newest log ids at Marmot's last commit in L: the promise is about these moments. */
  #atCommit = new Map<number, number>();
  pipeline!: Pipeline;
  pending!: PendingRows;
  replica!: OpenReplica;
  reader!: BunLiveReader;
  live!: DatabaseSync;
  app!: Database;
  /** Proposed and not in the order: they may be lost, repeated or late. */
  proposed: { shard: number; data: Uint8Array }[] = [];
  /** Entries of each shard that were handed over. */
  delivered: number[];

  constructor(lab: Lab, number: number) {
    this.#lab = lab;
    this.#number = number;
    this.file = join(lab.folder, `n${number}.db`);
    this.peerId = `peer-${number}`;
    this.#paths = dataPaths(`${this.file}.marmot`);
    this.delivered = lab.order.map(() => 0);
  }

  open(): void {
    this.replica = openReplica(this.#paths.replica, this.peerId);
    const { replica } = this.replica;
    const shards = this.#lab.order.length;
    this.delivered = replica.positions().map((index) => index - 1);
    this.live = openLiveConnection(this.file);
    const captured = readCaptured(this.live)!;
    const shapes = [...replica.shapes.values()];
    this.reader = new BunLiveReader(this.file, shapes, captured, replica.settings.encoding);
    const { bases, shadows, acknowledged } = readLiveState(this.live, shapes, shards);
    this.pending = new PendingRows();
    for (const [table, id] of acknowledged) this.pending.see(table, id);
    const logs = new Map(
      shapes.map((shape) => {
        const access = new RowAccess(this.live, shape, replica.settings.encoding);
        const log = captured.find((c) => c.id === shape.id)!.log;
        return [shape.id, new LiveLog(this.live, access, log, acknowledged.get(shape.id) ?? 0)];
      }),
    );
    this.#shadows = shadows;
    const { pending } = this;
    const ids = new IdBlocks(
      this.live,
      shapes,
      (table) => settingOf(replica.settings.idBlock, table),
      () => ({ slot: this.#number, slots: SLOTS }),
    );
    const reflector = new Reflector({ db: this.live, logs, source: replica, pending, bases, shadows, ids });
    this.pipeline = new Pipeline(
      {
        live: this.reader,
        replica,
        reflector,
        pending,
        bases,
        shadows,
        spool: new Spool(this.#paths.spool),
        syncLive: () => {},
        onOwnCommit: () => {
          this.#atCommit = this.reader.newestIds();
        },
        propose: (shard, data) => {
          this.proposed.push({ shard, data });
          return "forwarded";
        },
        nextIncarnation: (atLeast) => (this.#incarnation = Math.max(this.#incarnation, atLeast) + 1),
        now: () => this.#lab.clock,
        wallTime: () => 1_700_000_000_000,
        logger: silentLogger,
      },
      { peerId: this.peerId, shards, schemaVersion: 1, acknowledged },
    );
    replica.recallChanges(bases.reflected);
    this.pipeline.openIncarnation();
    this.app = new Database(this.file, { safeIntegers: true });
    this.app.exec("PRAGMA busy_timeout = 0");
  }

  /** kill -9: what was proposed and not ordered may still come later; the caller decides. */
  crash(): void {
    this.close();
    this.open();
  }

  /** Keeps both files as they are now, to be what a power cut leaves of one of them. */
  keep(): void {
    this.replica.db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    this.live.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    copyFileSync(this.#paths.replica, `${this.#paths.replica}.kept`);
    copyFileSync(this.file, `${this.file}.kept`);
  }

  /** A power cut: one of the files goes back to what was kept. `write`: the application, before Marmot starts again. */
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

  /** Takes over another node's replica, as a laggard does whose log no longer reaches. */
  async adopt(from: LabNode): Promise<boolean> {
    this.close();
    from.replica.checkpoint();
    const received = this.#paths.nextReplica;
    copyFileSync(from.#paths.replica, received);
    const { replica } = from.replica;
    const positions = replica.positions().map((index, shard) => ({ index, term: replica.term(shard) }));
    strip(received, null, this.peerId, { positions, configurations: [] });
    const done = await replaceReplica(this.#paths.replica, received, this.peerId, this.file, () => {});
    this.open();
    return done;
  }

  close(): void {
    this.app.close();
    this.reader.close();
    this.live.close();
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

  /** Turns until there is nothing to do at once. */
  turns(): void {
    for (let i = 0; i < 1000; i++) if (this.pipeline.turn().again !== "now") return;
    throw new Error("the pipeline does not come to rest");
  }

  /** Puts what was proposed into the order. Returns how much. */
  order(): number {
    const count = this.proposed.length;
    for (const { shard, data } of this.proposed.splice(0)) {
      const list = this.#lab.order[shard]!;
      list.push({ term: 1, index: list.length + 2, type: EntryType.normal, data });
    }
    return count;
  }

  /** Hands over up to `count` entries of each shard. Returns how many. */
  deliver(count = Number.POSITIVE_INFINITY): number {
    let handed = 0;
    this.#lab.order.forEach((list, shard) => {
      const from = this.delivered[shard]!;
      const entries = list.slice(from, from + count);
      if (entries.length === 0) return;
      this.pipeline.committed(shard, entries);
      this.delivered[shard] = from + entries.length;
      handed += entries.length;
    });
    return handed;
  }

  /** Applies what was delivered to S only: as if the application held the write lock. */
  applyOnly(): void {
    this.app.exec("BEGIN IMMEDIATE");
    this.turns();
    this.app.exec("ROLLBACK");
  }

  /** Every way in which L is not S with the pending rows on top; only true right after a reflection. */
  deviations(): string[] {
    const { replica, db } = this.replica;
    const out: string[] = [];
    for (const shape of replica.shapes.values()) {
      const encoding = replica.settings.encoding;
      const inLive = new Map(
        [...exactRows(this.live, shape, encoding)].map((i) => [keyIdOfImage(shape, i), i as Image]),
      );
      const inReplica = new Map(
        [...exactRows(db, shape, encoding)].map((i) => [keyIdOfImage(shape, i), i as Image]),
      );
      const live = new RowAccess(this.live, shape, encoding);
      const pending = this.#pendingKeys(shape, live);
      for (const [keyId, image] of inReplica) {
        if (pending.has(keyId)) continue;
        const shown = inLive.get(keyId);
        if (shown !== undefined && imageEqual(shown, image)) continue;
        const clashes = live.clashes(image).some((key) => pending.has(keyIdOf(shape, key)));
        if (shown === undefined && clashes) continue; // shadowed
        // The clash may have ended since Marmot's last commit: at the next the row returns.
        const moved = this.reader.newestIds().get(shape.id) !== this.#atCommit.get(shape.id);
        if (shown === undefined && moved && this.#shadows.get(shape.id, keyId) !== undefined) continue;
        out.push(`${shape.name} ${String(keyId)}: ${String(shown)} shown, ${String(image)} agreed`);
      }
      for (const [keyId, image] of inLive)
        if (!inReplica.has(keyId) && !pending.has(keyId))
          out.push(`${shape.name} ${String(keyId)}: ${String(image)} shown, nothing agreed`);
    }
    return out;
  }

  /** Keys with change-log rows that are not acknowledged, by the file alone. */
  #pendingKeys(shape: TableShape, live: RowAccess): Set<KeyId> {
    const [log] = readCaptured(this.live)!.filter((c) => c.id === shape.id);
    const status = this.live.prepare(
      `SELECT value FROM __marmot__status WHERE item = 'acknowledged' AND name = ?`,
    );
    const acknowledged = (status.get(shape.name) as { value: number } | undefined)?.value ?? 0;
    const columns = shape.key.map((_, i) => `k${i + 1}`).join(", ");
    const rows = prepareExact(this.live, `SELECT v, ${columns} FROM "${log!.log}" WHERE id > ?`);
    const keys = new Set<KeyId>();
    for (const [suspicion, ...key] of rows.all(acknowledged) as unknown as Value[][])
      if (suspicion === null || live.get(key) === null) keys.add(keyIdOf(shape, key));
    return keys;
  }
}
