/** The tour of the demo: writes on three nodes, a kill and a restart, a restored conflict, a migration, and a comparison of all files. */
import { systemClock } from "../../base/clock.ts";
import chinook from "../../../assets/chinook.sql" with { type: "text" };
import type { ConflictSummary, VerifyResult } from "../../operations/api.ts";
import type { CliContext } from "../context.ts";
import type { DemoCluster, DemoNode } from "./cluster.ts";
import { digest, withFile } from "./files.ts";

const VERIFY = "/api/v1/verify?timeout=30s";
const VERIFY_MS = 60_000;
const OPEN = "/api/v1/conflicts?open=true";
const LABEL = 64;

function insertArtists(file: string, from: number, count: number): void {
  withFile(file, (db) => {
    const statement = db.prepare(`INSERT INTO "Artist"("ArtistId", "Name") VALUES(?, ?)`);
    db.exec("BEGIN IMMEDIATE");
    for (let i = 0; i < count; i++) statement.run(from + i, `artist ${from + i}`);
    db.exec("COMMIT");
  });
}

const execute = (node: DemoNode, sql: string): void => withFile(node.db, (db) => db.exec(sql));

const title = (node: DemoNode, text: string): void =>
  execute(node, `UPDATE "Album" SET "Title" = '${text}' WHERE "AlbumId" = 1`);

/** Resolves to whether all files are equal at the end. */
export async function tour(cluster: DemoCluster, { print }: Pick<CliContext, "print">): Promise<boolean> {
  const timed = async (label: string, work: () => Promise<void>): Promise<void> => {
    const start = systemClock.now();
    await work();
    print(`  ${label.padEnd(LABEL)} ${((systemClock.now() - start) / 1000).toFixed(2).padStart(5)} s`);
  };
  print("three nodes on this machine, each with its own file");
  await cluster.prepare();
  const [first, second, third] = cluster.nodes as [DemoNode, DemoNode, DemoNode];
  const everywhere = async (): Promise<void> => {
    for (const node of cluster.nodes) if (node.process !== null) await cluster.everywhere(node);
  };
  await timed(`${first.name} starts with the Chinook database`, async () => {
    execute(first, `BEGIN; ${chinook}; COMMIT`);
    cluster.spawn(first);
    await cluster.ready(first);
  });
  await timed(`${second.name} and ${third.name} join and receive it`, async () => {
    for (const node of [second, third]) {
      cluster.spawn(node);
      await cluster.ready(node);
    }
  });
  await timed(`an artist is added on ${first.name} and reaches all three`, async () => {
    execute(first, `INSERT INTO "Artist"("Name") VALUES('Marmota marmota')`);
    await everywhere();
  });
  await timed("prices, a title and a deleted line, written on all three at once", async () => {
    execute(first, `UPDATE "Track" SET "UnitPrice" = 1.29 WHERE "GenreId" = 1`);
    execute(second, `UPDATE "Album" SET "Title" = 'Restless and Wild (live)' WHERE "AlbumId" = 3`);
    execute(third, `DELETE FROM "InvoiceLine" WHERE "InvoiceLineId" = 1`);
    await everywhere();
  });
  await timed(`${third.name} is killed (SIGKILL)`, () => cluster.kill(third, "SIGKILL"));
  await timed(`10,000 rows on ${first.name}, 1,000 in the file of the killed node`, async () => {
    insertArtists(first.db, 100_000, 10_000);
    insertArtists(third.db, 200_000, 1000);
    await cluster.everywhere(first);
  });
  await timed(`one album gets two titles, on ${second.name} and in ${third.name}'s file`, async () => {
    title(second, "from Berlin");
    await cluster.everywhere(second);
    title(third, "from Chennai");
  });
  await timed(`${third.name} restarts and catches up in both directions`, async () => {
    cluster.spawn(third);
    await cluster.ready(third);
    await everywhere();
  });
  await timed(`the title that lost is in the journal, and restored on ${first.name}`, async () => {
    const client = cluster.client(first);
    const conflicts = await client.request<ConflictSummary[]>("GET", OPEN);
    for (const { id } of conflicts)
      await client.request("POST", `/api/v1/conflicts/${encodeURIComponent(id)}/restore`);
    await everywhere();
    if (conflicts.length !== 1) throw new Error(`the journal has ${conflicts.length} conflicts`);
  });
  await timed(`${first.name} adds a column while ${second.name} writes: one schema on all`, async () => {
    execute(first, `ALTER TABLE "Artist" ADD COLUMN "Country" TEXT DEFAULT 'unknown'`);
    execute(second, `INSERT INTO "Artist"("Name") VALUES('written meanwhile')`);
    await everywhere();
  });
  return compare(cluster, { print });
}

async function compare(cluster: DemoCluster, { print }: Pick<CliContext, "print">): Promise<boolean> {
  const client = cluster.client(cluster.nodes[0]!);
  const { equal, nodes, positions } = await client.request<VerifyResult>("POST", VERIFY, VERIFY_MS);
  const state = equal ? "are equal" : "DIFFER";
  print(`  verify: the replicas of ${nodes.join(", ")} ${state} at position ${positions.join(", ")}`);
  const digests = cluster.nodes.map((node) => digest(node.db));
  cluster.nodes.forEach((node, i) =>
    print(`  ${node.name.padEnd(10)} ${digests[i]!.rows} rows in its file, hash ${digests[i]!.hash}`),
  );
  const same =
    equal &&
    nodes.length === cluster.nodes.length &&
    digests.every((d) => d.hash === digests[0]!.hash && d.rows === digests[0]!.rows);
  print(same ? "all files are equal" : "THE FILES DIFFER");
  return same;
}
