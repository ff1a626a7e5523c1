/** As TypeORM generates them: the second one adds a column and rebuilds a table. */
class First1700000000000 {
  name = "First1700000000000";
  async up(runner) {
    await runner.query(
      `CREATE TABLE "author" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "name" varchar NOT NULL, CONSTRAINT "UQ_d3962fd11a54d87f927e84d1080" UNIQUE ("name"))`,
    );
    await runner.query(`CREATE TABLE "tag" ("name" varchar PRIMARY KEY NOT NULL)`);
    await runner.query(
      `CREATE TABLE "book" ("id" varchar PRIMARY KEY NOT NULL, "title" varchar NOT NULL, "written" datetime NOT NULL DEFAULT (datetime('now')), "version" integer NOT NULL, "removed" datetime, "authorId" integer NOT NULL, CONSTRAINT "FK_66a4f0f47943a0d99c16ecf90b2" FOREIGN KEY ("authorId") REFERENCES "author" ("id") ON DELETE CASCADE ON UPDATE NO ACTION)`,
    );
    await runner.query(
      `CREATE TABLE "book_tags_tag" ("bookId" varchar NOT NULL, "tagName" varchar NOT NULL, CONSTRAINT "FK_918a7b7552fe5fd66f328d4fe84" FOREIGN KEY ("bookId") REFERENCES "book" ("id") ON DELETE CASCADE ON UPDATE CASCADE, CONSTRAINT "FK_9ad658cfba6d42ecf09255695ea" FOREIGN KEY ("tagName") REFERENCES "tag" ("name") ON DELETE CASCADE ON UPDATE CASCADE, PRIMARY KEY ("bookId", "tagName"))`,
    );
    await runner.query(`CREATE INDEX "IDX_918a7b7552fe5fd66f328d4fe8" ON "book_tags_tag" ("bookId") `);
    await runner.query(`CREATE INDEX "IDX_9ad658cfba6d42ecf09255695e" ON "book_tags_tag" ("tagName") `);
  }
}

class Second1700000001000 {
  name = "Second1700000001000";
  async up(runner) {
    const { TableColumn } = await import("typeorm");
    await runner.addColumn("author", new TableColumn({ name: "details", type: "text", isNullable: true }));
    await runner.addColumn(
      "book",
      new TableColumn({ name: "pages", type: "integer", default: 0, isNullable: false }),
    );
  }
}

export const migrations = [First1700000000000, Second1700000001000];
