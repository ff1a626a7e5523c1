/** An ORM's way of writing on all nodes at once: a parent and its children by the ids that SQLite picked. */
import type { Random } from "../../src/base/random.ts";
import { TestCluster } from "./lab.ts";

/** Tables as the migrations of Django and of Rails make them. */
export const ORM_SCHEMA = `
  CREATE TABLE "shop_order" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "customer" varchar(100) NOT NULL, "created" datetime NOT NULL);
  CREATE TABLE "shop_item" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "name" varchar(100) NOT NULL, "order_id" bigint NOT NULL REFERENCES "shop_order" ("id") DEFERRABLE INITIALLY DEFERRED);
  CREATE INDEX "shop_item_order_id" ON "shop_item" ("order_id");
  CREATE TABLE "posts" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "title" varchar, "created_at" datetime(6) NOT NULL, "updated_at" datetime(6) NOT NULL);
  CREATE TABLE "comments" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "body" text, "post_id" integer NOT NULL, "created_at" datetime(6) NOT NULL, "updated_at" datetime(6) NOT NULL, CONSTRAINT "fk_rails_2fd19c0db7" FOREIGN KEY ("post_id") REFERENCES "posts" ("id"));
  CREATE INDEX "index_comments_on_post_id" ON "comments" ("post_id");`;

const FRAMEWORKS = [
  {
    parent: `INSERT INTO "shop_order" ("customer", "created") VALUES (?, datetime('now')) RETURNING "id"`,
    child: `INSERT INTO "shop_item" ("name", "order_id") VALUES (?, ?)`,
    tables: ["shop_order", "shop_item"],
    wrong: `SELECT count(*) FROM "shop_item" c LEFT JOIN "shop_order" p ON p."id" = c."order_id" WHERE p."customer" IS NOT c."name"`,
  },
  {
    parent: `INSERT INTO "posts" ("title", "created_at", "updated_at") VALUES (?, datetime('now'), datetime('now')) RETURNING "id"`,
    child: `INSERT INTO "comments" ("body", "post_id", "created_at", "updated_at") VALUES (?, ?, datetime('now'), datetime('now'))`,
    tables: ["posts", "comments"],
    wrong: `SELECT count(*) FROM "comments" c LEFT JOIN "posts" p ON p."id" = c."post_id" WHERE p."title" IS NOT c."body"`,
  },
] as const;

const CHILDREN = 2;

export interface IdsResult {
  /** Rows that applications inserted, and of them those that others' rows replaced. */
  readonly inserted: number;
  readonly lost: number;
  /** Children whose parent differs from the one that was inserted with them. */
  readonly strayed: number;
  /** Conflicts in the journal. */
  readonly journalled: number;
  /** Highest id through number of rows, the worst table's. */
  readonly spread: number;
}

/** `perSecond`: parents a node and second, at random moments; each with its children in one transaction. */
export async function writeLikeOrms(options: {
  readonly random: Random;
  readonly perSecond: number;
  readonly seconds: number;
  /** `--id-block`. */
  readonly block: number;
  readonly shards?: number;
}): Promise<IdsResult> {
  const { random, perSecond, seconds, block, shards = 1 } = options;
  const cluster = await TestCluster.start({
    shards,
    schema: ORM_SCHEMA,
    quiet: true,
    first: ["--id-block", String(block)],
  });
  try {
    const dbs = cluster.nodes.map((n) => n.open());
    const due = dbs.map(() => 0);
    const later = (): number => (-Math.log(1 - random.next() / 2 ** 32) * 1000) / perSecond;
    due.forEach((_, i) => (due[i] = later()));
    const start = performance.now();
    let inserted = 0;
    for (;;) {
      const now = performance.now() - start;
      if (now >= seconds * 1000) break;
      for (const [i, db] of dbs.entries()) {
        if (now < due[i]!) continue;
        due[i] = due[i]! + later();
        const { parent, child } = FRAMEWORKS[random.below(FRAMEWORKS.length)]!;
        const name = `n${i} ${inserted}`;
        db.exec("BEGIN IMMEDIATE");
        const [[id]] = db.query(parent).values(name) as [[bigint]];
        for (let c = 0; c < CHILDREN; c++) db.query(child).run(name, id);
        db.exec("COMMIT");
        inserted += 1 + CHILDREN;
      }
      await Bun.sleep(1);
    }
    for (const db of dbs) db.close();
    await cluster.settle();
    const [node] = cluster.nodes as [(typeof cluster.nodes)[0]];
    let rows = 0;
    let strayed = 0;
    let spread = 0;
    for (const { tables, wrong } of FRAMEWORKS) {
      for (const table of tables) {
        const [[count, top]] = node.query(`SELECT count(*), max("id") FROM "${table}"`) as [
          [bigint, bigint | null],
        ];
        rows += Number(count);
        if (count > 0n) spread = Math.max(spread, Number(top) / Number(count));
      }
      strayed += Number((node.query(wrong) as [[bigint]])[0][0]);
    }
    const journalled = (await node.status()).conflicts.total;
    return { inserted, lost: inserted - rows, strayed, journalled, spread };
  } finally {
    await cluster.stop();
  }
}
