/**
 * The checks at the end of a run with a generated schema: equal files, complete full-text indexes, and a total order
 * that agrees with the transactions of each application.
 */
import { asPeerId } from "../../src/base/ids.ts";
import { Database } from "bun:sqlite";
import { decodeImage } from "../../src/change/codec.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Image, imageEqual, valueEqual } from "../../src/change/value.ts";
import { ALL, classify } from "../../src/schema/classify/classify.ts";
import { queryOfBun } from "../../src/sqlite/query.ts";
import { quoteIdentifier as q } from "../../src/sqlite/quote.ts";
import { type Content, contentOf, differences, searchesOf } from "../differential/content.ts";
import { nameOfRow, RowReader, type Rows, type RowWrite } from "./generated.ts";
import type { Judged } from "./judge.ts";
import type { TakenRow } from "./order.ts";
import type { Generated } from "./plan.ts";

/**
 * Whether the order alone decides which entries take effect. It does not where UNIQUE values or foreign keys of other
 * nodes remove rows without a declared key: only the replica knows which rowids are free then.
 */
export const isOrderKnown = (
  { foreignKeys, migrations }: Generated,
  shapes: ReadonlyMap<number, TableShape>,
): boolean =>
  !migrations &&
  [...shapes.values()].every((s) => !s.rowidKey || (s.uniques.length === 0 && foreignKeys === "keep"));

/** What is merged, or resolved, is no row of the order's. */
export const isOrderPlain = ({ merge, foreignKeys }: Generated): boolean =>
  merge === "row" && foreignKeys === "keep";

export class GeneratedJudge {
  readonly #it: Judged;
  readonly #generated: Generated;

  constructor(it: Judged, generated: Generated) {
    this.#it = it;
    this.#generated = generated;
  }

  judge(): string[] {
    const files = this.#judgeFiles();
    if (this.#generated.migrations) return files; // rows of a table that changed are other rows
    const { shapes } = this.#it.present[0]!.member!.replica.replica;
    const ordered = isOrderKnown(this.#generated, shapes) ? this.#judgeOrder() : [];
    return [...files, ...ordered, ...this.#unaccounted()];
  }

  /** Every row of every table and view, and the schema's text, the same everywhere. */
  #judgeFiles(): string[] {
    const { present } = this.#it;
    const wrong: string[] = [];
    let expected: ReturnType<typeof contentOf> | null = null;
    for (const node of present) {
      const db = new Database(node.file, { readwrite: true, create: false, safeIntegers: true });
      try {
        const content = withoutRefused(contentOf(db), db);
        expected ??= content;
        wrong.push(...differences(expected, content, `at the end ${node.name} against ${present[0]!.name}`));
        wrong.push(...this.#judgeSearches(db, node.name));
      } finally {
        db.close();
      }
    }
    return wrong;
  }

  /** Full-text indexes are sound, and find the same as an index that is rebuilt from the rows. */
  #judgeSearches(db: Database, who: string): string[] {
    const { words } = this.#generated;
    if (words.length === 0) return [];
    const found = searchesOf(db, words);
    db.exec("BEGIN IMMEDIATE");
    try {
      for (const name of found.keys()) db.exec(`INSERT INTO ${q(name)}(${q(name)}) VALUES('rebuild')`);
      const anew = searchesOf(db, words);
      return [...found].flatMap(([name, { sound, found: rows }]) => {
        if (!sound) return [`${who}: the full-text index ${name} is not sound`];
        const there = anew.get(name)!.found;
        return rows === there ? [] : [`${who}: a search of ${name} finds ${rows}, there is ${there}`];
      });
    } finally {
      db.exec("ROLLBACK");
    }
  }

  /**
   * The ordered rows of a node are the rows that its transactions left, in their order, each at most once. Where
   * transactions are whole, each entry contains its row of `counter`: it has every row that the transactions since
   * the previous entry changed in sum.
   */
  #judgeOrder(): string[] {
    const { replica } = this.#it.present[0]!.member!.replica;
    const wrong: string[] = [];
    // A node that installed a snapshot over its own replica may send rows that were only touched; see the check of
    // tagged rows.
    const nodes = this.#it.nodes.filter((node) => !node.adopted);
    const tellers = new Map(
      nodes.map((node) => [
        node.peerId,
        new Teller(node.name, this.#writesOf(node.options.number), this.#it.plan.fresh),
      ]),
    );
    const isWhole = replica.settings.transactions === "whole";
    let entry: TakenRow[] = [];
    const end = (): void => {
      const [first] = entry;
      const teller = first === undefined ? undefined : tellers.get(asPeerId(first.origin));
      if (teller !== undefined) wrong.push(...teller.take(entry, isWhole));
      entry = [];
    };
    for (const row of this.#it.order.taken(replica.shapes)) {
      const [first] = entry;
      if (first !== undefined && (first.shard !== row.shard || first.index !== row.index)) end();
      entry.push(row);
    }
    end();
    return wrong;
  }

  #writesOf(number: number): Write[] {
    return [...this.#it.history.transactions()]
      .filter(({ node }) => node === number)
      .flatMap(({ seq, rows }) => (rows ?? []).map((row) => ({ ...row, seq })));
  }

  /**
   * Every row that a transaction left is in the final files, or another transaction found and replaced it, or the
   * journal has it. Rows are identified by their contents: two equal rows count as one.
   */
  #unaccounted(): string[] {
    const [first] = this.#it.present;
    const { replica } = first!.member!.replica;
    const seen = new Map<string, Image[]>();
    const note = (name: string, image: Image): void => {
      const images = seen.get(name);
      if (images === undefined) seen.set(name, [image]);
      else images.push(image);
    };
    const all = [...this.#it.history.transactions()];
    const nameOf = ({ table, keyId }: Pick<RowWrite, "table" | "keyId">): string =>
      table.rowidKey ? table.name : nameOfRow(table, keyId);
    const contentOfRow = ({ table }: Pick<RowWrite, "table">, image: Image): Image =>
      table.rowidKey ? image.slice(1) : image; // rows without a declared key may have a redirected rowid
    for (const row of rowsOf(first!.file, this.#generated.encoding).values())
      note(nameOf(row), contentOfRow(row, row.image));
    for (const { rows } of all)
      for (const row of rows ?? []) if (row.before !== null) note(nameOf(row), contentOfRow(row, row.before));
    for (const { table, keyId, losingImage } of replica.journal.list(1_000_000)) {
      const shape = replica.shapes.get(table);
      if (losingImage === null || shape === undefined) continue;
      const row = { table: shape, keyId };
      note(nameOf(row), contentOfRow(row, decodeImage(losingImage)));
    }
    const isKept = this.#generated.merge === "row" ? rowIsKept : columnsAreKept;
    return all.flatMap(({ node, seq, rows }) =>
      (rows ?? []).flatMap((row) => {
        if (row.after === null) return [];
        const before = row.before === null ? null : contentOfRow(row, row.before);
        const after = contentOfRow(row, row.after);
        if (isKept(before, after, seen.get(nameOf(row)) ?? [])) return [];
        return [
          `${nameOf(row)} as n${node} left it in transaction ${seq}, ${show(after)}, is gone without a trace`,
        ];
      }),
    );
  }
}

/** Without the tables that nodes made which cannot be replicated: they stay where they are. */
function withoutRefused({ rows, schema }: Content, db: Database): Content {
  const refused = classify(queryOfBun(db), ALL).filter((t) => t.verdict === "refused");
  const names = new Set(refused.map((t) => t.name));
  const isOf = (line: string, name: string): boolean => line.includes(` of ${name}, `);
  return {
    rows: new Map([...rows].filter(([name]) => !names.has(name))),
    schema: schema.filter((line) => ![...names].some((name) => isOf(line, name))),
  };
}

function rowsOf(file: string, encoding: string): Rows {
  const reader = new RowReader(file, encoding);
  try {
    return reader.rows();
  } finally {
    reader.close();
  }
}

const rowIsKept = (_before: Image | null, after: Image, seen: readonly Image[]): boolean =>
  seen.some((image) => imageEqual(image, after));

/** Of columns that are merged each one that the transaction changed. */
const columnsAreKept = (before: Image | null, after: Image, seen: readonly Image[]): boolean =>
  after.every(
    (value, i) =>
      (before !== null && valueEqual(before[i]!, value)) ||
      seen.some((image) => valueEqual(image[i]!, value)),
  );

export interface Write extends RowWrite {
  readonly seq: number;
}

/** One node's writes beside what is ordered of it. */
export class Teller {
  readonly #who: string;
  readonly #writes: readonly Write[];
  /** Row ⇒ what its transactions left there, in their order. */
  readonly #left = new Map<string, (Image | null)[]>();
  /** Row ⇒ how many of these lie before what was ordered last, that included. */
  readonly #told = new Map<string, number>();
  readonly #mayHaveBegun: boolean;
  /** Newest transaction that is ordered. */
  #seq = 0;

  /**
   * `mayHaveBegun`: the cluster may have been formed from a file that already had the first transactions; these are
   * not ordered then.
   */
  constructor(who: string, writes: readonly Write[], mayHaveBegun = false) {
    this.#who = who;
    this.#mayHaveBegun = mayHaveBegun;
    this.#writes = writes;
    for (const { table, keyId, after } of writes) {
      const name = nameOfRow(table, keyId);
      const left = this.#left.get(name);
      if (left === undefined) this.#left.set(name, [after]);
      else left.push(after);
    }
  }

  /** All rows of one entry. */
  take(entry: readonly TakenRow[], isWhole: boolean): string[] {
    const [{ shard, index }] = entry as [TakenRow];
    const at = `${shard}/${index} of ${this.#who}`;
    const wrong: string[] = [];
    for (const { table, row } of entry) {
      if (table.rowidKey) continue; // its rowid may be redirected; the notes of the fixed schema test these rows
      const name = nameOfRow(table, row.keyId);
      const left = this.#left.get(name) ?? [];
      const place = left.findIndex(
        (image, i) => i >= (this.#told.get(name) ?? 0) && isSame(image, row.image),
      );
      if (place === -1)
        wrong.push(`${at} has ${name} as ${show(row.image)}, which its file had never, or no more`);
      else this.#told.set(name, place + 1);
    }
    return isWhole ? [...wrong, ...this.#missing(entry, at)] : wrong;
  }

  #missing(entry: readonly TakenRow[], at: string): string[] {
    const counter = entry.find(({ table }) => table.name === "counter");
    const seq = Number(counter?.row.image?.[1] ?? 0);
    if (seq <= this.#seq) return [`${at} is of no transaction after ${this.#seq}: ${entry.length} rows`];
    if (this.#mayHaveBegun && this.#seq === 0) {
      this.#seq = seq;
      return [];
    }
    const sums = new Map<string, { before: Image | null; after: Image | null }>();
    for (const { table, keyId, before, after, ...of } of this.#writes) {
      if (of.seq <= this.#seq || of.seq > seq || table.rowidKey) continue;
      const name = nameOfRow(table, keyId);
      sums.set(name, { before: sums.has(name) ? sums.get(name)!.before : before, after });
    }
    this.#seq = seq;
    const sent = new Map(entry.map(({ table, row }) => [nameOfRow(table, row.keyId), row.image]));
    return [...sums].flatMap(([name, { before, after }]) => {
      const image = sent.get(name);
      if (image === undefined ? isSame(before, after) : isSame(image, after)) return [];
      return [
        `${at} has ${name} as ${image === undefined ? "it was" : show(image)}, its file had ${show(after)}`,
      ];
    });
  }
}

const isSame = (a: Image | null, b: Image | null): boolean =>
  a === null || b === null ? a === b : imageEqual(a, b);

const show = (image: Image | null): string =>
  image === null ? "nothing" : Bun.inspect(image, { compact: true }).replaceAll("\n", " ").slice(0, 200);
