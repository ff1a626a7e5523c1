/**
 * Schemas and transactions for nodes that all write at once, without a plain file to compare with: the part of this
 * generator that the simulator uses. Pure, except that it asks SQLite whether a schema can be replicated.
 */
import { Database } from "bun:sqlite";
import { Random } from "../../src/base/random.ts";
import type { ForeignKeyMode, MergeMode } from "../../src/replica/store/settings.ts";
import { ALL, classify } from "../../src/schema/classify/classify.ts";
import { queryOfBun } from "../../src/sqlite/query.ts";
import { applySchema } from "./application.ts";
import type { Case } from "./case.ts";
import { renderPart, renderStatement, type Statement } from "./draft.ts";
import { addFirstRows, drawOne, drawSchema } from "./draw.ts";
import { drawMigration } from "./draw-migration.ts";
import { StatementDrawer } from "./draw-statements.ts";
import { drawFeatures, type Features } from "./features.ts";
import type { Schema } from "./schema.ts";
import { SEARCHED } from "./words.ts";

/** What an application does at once. */
export interface Work {
  /** Settings of its connection, before it begins. */
  readonly settings: readonly string[];
  /** Of one transaction. */
  readonly statements: readonly string[];
}

export interface TrafficSchema {
  readonly encoding: Case["encoding"];
  readonly merge: MergeMode;
  readonly foreignKeys: ForeignKeyMode;
  readonly idBlock: number;
  /** Creates the schema and its first rows, without the statements that SQLite refuses. */
  readonly schema: readonly string[];
  /** Words to look for in full-text indexes; empty: there is none. */
  readonly words: readonly string[];
}

/** Schemas drawn before one is taken that can be replicated. */
const ATTEMPTS = 50;

export class Traffic {
  readonly drawn: TrafficSchema;
  readonly #features: Features;
  readonly #schema: Schema;
  readonly #isBracketed: boolean;

  /** `migrations`: works change the schema now and then, whatever other nodes have of it by then. */
  constructor(seed: number, migrations: boolean) {
    const random = new Random(seed);
    // Full-text indexes are what the simulator's own schema has not at all.
    const isSearched = random.chance(0.25);
    // While nodes do not know the schemas of each other, a missing name in double quotes would be read as text.
    this.#isBracketed = migrations || random.chance(0.3);
    for (let i = 0; ; i++) {
      const encoding = random.pick(["UTF-8", "UTF-8", "UTF-8", "UTF-8", "UTF-16le", "UTF-16be"] as const);
      const drawn = drawFeatures(random, { keyless: true, migrations: false }, encoding !== "UTF-8");
      const search = isSearched && encoding === "UTF-8" ? 1 : drawn.search;
      this.#features = { ...drawn, search, anyOrder: true, migrations: migrations ? 0.1 : 0 };
      this.#schema = drawSchema(random.fork(), this.#features);
      addFirstRows(random, this.#features, this.#schema);
      const schema = this.#texts(this.#schema.parts.map(renderPart));
      this.drawn = {
        ...{ encoding, schema, words: this.#schema.searches.length > 0 ? SEARCHED : [] },
        merge: random.pick(["row", "row", "column"] as const),
        foreignKeys: random.pick(["keep", "keep", "resolve"] as const),
        idBlock: random.pick([0, 4, 64]),
      };
      if (isSearched && this.drawn.words.length === 0 && i < ATTEMPTS) continue;
      if (canBeMade(this.drawn)) return;
      if (i === 2 * ATTEMPTS) throw new Error(`seed ${seed}: ${i} schemas cannot be replicated`);
    }
  }

  /** One transaction's work. */
  draw(random: Random, statements: number): Work {
    const features = this.#features;
    const recursive = random.chance(0.4);
    const settings = [
      `PRAGMA recursive_triggers = ${recursive ? "ON" : "OFF"}`,
      `PRAGMA foreign_keys = ${features.enforced || random.chance(0.5) ? "ON" : "OFF"}`,
    ];
    if (random.chance(0.15)) settings.push("PRAGMA trusted_schema = OFF");
    if (random.chance(0.05)) settings.push("PRAGMA ignore_check_constraints = ON");
    const drawer = new StatementDrawer(random, features, { recursive, alone: true });
    const schema = this.#schema;
    const write = (): Statement[] => (schema.tables.length > 0 ? drawOne(random, drawer, schema) : []);
    if (random.chance(features.migrations)) {
      const migration = drawMigration(random, features, schema, write).map(renderStatement);
      const texts = this.#texts(migration.filter((t) => !/^(?:BEGIN|COMMIT)\b/.test(t)));
      return { settings, statements: texts };
    }
    const out: Statement[] = [];
    if (random.chance(0.1)) out.push({ kind: "sql", text: "PRAGMA defer_foreign_keys = ON" });
    for (let i = 0; i < statements; i++) {
      const undone = random.chance(0.1);
      if (undone) out.push({ kind: "sql", text: "SAVEPOINT s" });
      out.push(...write());
      if (undone) out.push({ kind: "sql", text: random.pick(["RELEASE s", "ROLLBACK TO s"]) });
    }
    return { settings, statements: this.#texts(out.map(renderStatement)) };
  }

  #texts(texts: readonly string[]): readonly string[] {
    return this.#isBracketed ? texts.map(bracketed) : texts;
  }
}

/** Names in the brackets that SQLite takes, too, instead of double quotes. */
const bracketed = (text: string): string =>
  text.replace(/'(?:[^']|'')*'|"(?:[^"]|"")*"/g, (token) =>
    token.startsWith("'") || token.includes("]") ? token : `[${token.slice(1, -1).replaceAll('""', '"')}]`,
  );

function canBeMade({ encoding, schema }: TrafficSchema): boolean {
  const db = new Database(":memory:");
  try {
    db.exec(`PRAGMA encoding = '${encoding}'`);
    applySchema(db, schema);
    return canReplicate(db);
  } finally {
    db.close();
  }
}

/** Nothing in the file would be refused. */
export const canReplicate = (db: Database): boolean =>
  classify(queryOfBun(db), ALL).every((t) => t.verdict !== "refused");
