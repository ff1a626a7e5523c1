/** Replicas of older and of newer formats. */
import { afterEach, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { openReplica } from "../../src/replica/open-replica.ts";
import { OLDEST_FORMATS } from "../../src/base/versions/formats.ts";
import { REPLICA_FORMAT } from "../../src/replica/store/tables.ts";
import { raiseReplicaFormat, UsedVersions } from "../../src/replica/store/used-formats.ts";
import { Lab, type LabNode } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const SCHEMA = `CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT); INSERT INTO p VALUES(1, 'a');
  CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id))`;

test("a replica of format 1 opens with default settings and is upgraded", async () => {
  lab = await Lab.create(SCHEMA, 2, 1, "whole", [], { foreignKeys: "resolve" });
  lab.settle();
  const [a, b] = lab.nodes as [LabNode, LabNode];
  // As the previous version wrote it, with a conflict in the journal.
  a.run("INSERT INTO p VALUES(100, 'a')");
  b.run("INSERT INTO p VALUES(100, 'b')");
  lab.settle();
  for (const node of lab.nodes) {
    const path = node.replica.db.location()!;
    node.close();
    const db = new DatabaseSync(path);
    db.exec(`UPDATE __marmot__setting SET value = 1 WHERE name = 'format';
      DELETE FROM __marmot__setting WHERE name IN ('merge', 'foreign_keys', 'id_block');
      DROP TABLE __marmot__orphan; DROP TABLE __marmot__attached; DROP TABLE __marmot__stray; DROP TABLE __marmot__column;
      DROP TABLE __marmot__birth; DROP TABLE __marmot__rowid; DROP TABLE __marmot__moved;
      DROP TABLE __marmot__local_restored; DROP INDEX __marmot__fk_2_0;
      ALTER TABLE __marmot__conflict DROP COLUMN losing_shard; ALTER TABLE __marmot__conflict DROP COLUMN losing_idx; ALTER TABLE __marmot__conflict DROP COLUMN note`);
    db.close();
    node.open();
    const { settings, journal } = node.replica.replica;
    expect([settings.merge, settings.foreignKeys, settings.idBlock]).toEqual([
      { usual: "row", tables: {} },
      "keep",
      { usual: 64, tables: {} },
    ]);
    expect(journal.list(10)).toMatchObject([{ kind: "same key", losingPosition: null }]);
    expect(
      node.replica.db
        .prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = '__marmot__fk_2_0'")
        .get(),
    ).toEqual({ n: 1 });
  }
  a.run("INSERT INTO c VALUES(1, 1)");
  b.run("DELETE FROM p WHERE id = 1");
  lab.settle();
  for (const node of lab.nodes) {
    expect(node.query("SELECT p FROM c")).toEqual([[1n]]);
    expect(node.replica.replica.danglingReferences.total).toBe(1);
    expect(node.deviations()).toEqual([]);
  }
});

test("the newest format of the applied entries is noted in the replica", async () => {
  lab = await Lab.create(SCHEMA, 1);
  lab.settle();
  const { db, replica } = lab.nodes[0]!.replica;
  expect(replica.usedFormats).toEqual({ entry: OLDEST_FORMATS.entry.max, replica: REPLICA_FORMAT });
  const used = new UsedVersions(db);
  used.applied(9);
  used.applied(1);
  raiseReplicaFormat(db, 8);
  raiseReplicaFormat(db, 7);
  expect(new UsedVersions(db).all).toEqual({ entry: 9, replica: 8 });
});

test("a replica of a newer format is refused", async () => {
  lab = await Lab.create(SCHEMA, 1);
  lab.settle();
  const path = lab.nodes[0]!.replica.db.location()!;
  lab.nodes[0]!.replica.db.exec("UPDATE __marmot__setting SET value = 4 WHERE name = 'format'");
  expect(() => openReplica(path, "peer-0")).toThrow(
    /has replicas of format 4, and this build reads format 1 to 3/,
  );
});
