/** bun library_app.js migrate | fill | report | check FILE [WHO]: TypeORM with its migrations, generated ids, UUIDs and relations. */
import "reflect-metadata";
import { DataSource, EntitySchema } from "typeorm";
import driver from "./driver.js";
import { migrations } from "./migrations.js";

const ROUNDS = 12;

const Author = new EntitySchema({
  name: "author",
  columns: {
    id: { type: "integer", primary: true, generated: "increment" },
    name: { type: "varchar", unique: true },
    details: { type: "simple-json", nullable: true },
  },
  relations: { books: { type: "one-to-many", target: "book", inverseSide: "author" } },
});
const Book = new EntitySchema({
  name: "book",
  columns: {
    id: { type: "varchar", primary: true, generated: "uuid" },
    title: { type: "varchar" },
    pages: { type: "integer", default: 0 },
    written: { type: "datetime", createDate: true },
    version: { type: "integer", version: true },
    removed: { type: "datetime", deleteDate: true, nullable: true },
  },
  relations: {
    author: { type: "many-to-one", target: "author", joinColumn: true, onDelete: "CASCADE", nullable: false },
    tags: { type: "many-to-many", target: "tag", joinTable: true },
  },
});
const Tag = new EntitySchema({ name: "tag", columns: { name: { type: "varchar", primary: true } } });

const [verb, database, who] = process.argv.slice(2);
const source = new DataSource({
  type: "better-sqlite3",
  driver,
  database,
  entities: [Author, Book, Tag],
  migrations,
});
await source.initialize();

/** A transaction that reads before it writes, as TypeORM's do, cannot wait for another process: it is repeated. */
async function repeated(work) {
  for (const end = Date.now() + 60_000; ;) {
    try {
      return await source.transaction(work);
    } catch (error) {
      if (!/database is locked/.test(String(error)) || Date.now() > end) throw error;
    }
  }
}

async function fill() {
  const authors = source.getRepository("author");
  const author = await authors.save({ name: who, details: { from: who } });
  for (let n = 0; n < ROUNDS; n++)
    await repeated(async (manager) => {
      const tag = await manager.save("tag", { name: `${who} ${n % 3}` });
      const book = await manager.save("book", { title: `${who} ${n}`, author, tags: [tag] });
      if (n % 2 === 0) await manager.save("book", { ...book, pages: n });
      if (n % 4 === 3) await manager.remove("book", book);
      else if (n % 4 === 2) await manager.softDelete("book", book.id);
    });
  return { kept: (ROUNDS * 3) / 4 };
}

async function report() {
  const order = { title: "ASC" };
  const books = await source
    .getRepository("book")
    .find({ relations: { author: true, tags: true }, order, withDeleted: true });
  return { kept: books.length, books };
}

async function check() {
  if (await source.showMigrations()) throw new Error("there is something to migrate");
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  // Tables that the models do not know are Marmot's; changes of the application's own would be a difference.
  const differences = upQueries.map(({ query }) => query).filter((query) => !query.includes("__marmot__"));
  if (differences.length > 0) throw new Error(differences.join("; "));
  const [{ integrity_check: said }] = await source.query("PRAGMA integrity_check");
  const broken = await source.query("PRAGMA foreign_key_check");
  if (said !== "ok" || broken.length > 0) throw new Error(JSON.stringify([said, broken]));
}

const result = await { migrate: () => source.runMigrations().then(() => undefined), fill, report, check }[
  verb
]();
if (result !== undefined) console.log(JSON.stringify(result));
await source.destroy();
