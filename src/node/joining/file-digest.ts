/** The content of an application's file before a cluster is formed: whether there is any, and a digest of it. */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { nextTurn } from "../../base/clock.ts";
import { encodeImage, imageHash } from "../../change/codec.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import { ALL, classify } from "../../schema/classify/classify.ts";
import { shapeOf } from "../../schema/read-shape.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";
import { readTable } from "../../sqlite/schema.ts";

/** Rows between two turns of the event loop. */
const SLICE = 2000;

/** "none": no file, or a database without objects of an application. */
export function fileData(file: string): "none" | "some" {
  if (!existsSync(file)) return "none";
  const db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
  try {
    return readCatalogue(queryOf(db)).objects.length === 0 ? "none" : "some";
  } finally {
    db.close();
  }
}

/** Equal for files with the same schema and the same rows; "none" as above. */
export async function fileDigest(file: string): Promise<string> {
  if (fileData(file) === "none") return "none";
  const db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
  try {
    db.exec("BEGIN");
    const { objects, encoding } = readCatalogue(queryOf(db));
    const schema = objects.map((o) => JSON.stringify([o.kind, o.name, o.sql])).sort();
    const sums: string[] = [];
    const tables = classify(queryOf(db), ALL).filter(
      ({ verdict }) => verdict === "replicates" || verdict === "care",
    );
    for (const { name } of tables) sums.push(`${name} ${await tableSum(db, name, encoding)}`);
    return Bun.hash.xxHash64(JSON.stringify([schema, sums.sort()]), 0n).toString(16);
  } finally {
    db.close();
  }
}

async function tableSum(db: DatabaseSync, table: string, encoding: string): Promise<string> {
  const shape = shapeOf(readTable(queryOf(db), table), 0);
  let sum = 0n;
  let rows = 0;
  for (const image of exactRows(db, shape, encoding)) {
    sum = BigInt.asUintN(64, sum + imageHash(encodeImage(image)));
    if (++rows % SLICE === 0) await nextTurn();
  }
  return `${rows} ${sum.toString(16)}`;
}
