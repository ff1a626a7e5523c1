/** One random table: columns of every affinity, keys and constraints of every kind. */
import type { Random } from "../../src/base/random.ts";
import { quoteIdentifier as q } from "../../src/sqlite/quote.ts";
import type { Clause, Column, TablePart } from "./draft.ts";
import type { Features } from "./features.ts";
import type { ColumnInfo, TableInfo } from "./table.ts";
import { type Kind, literal, Names } from "./words.ts";

const TYPES: readonly (readonly [type: string, kind: Kind])[] = [
  ...([
    ["INTEGER", "int"],
    ["INT", "int"],
    ["BIGINT", "int"],
    ["BOOLEAN", "int"],
  ] as const),
  ...([
    ["TEXT", "text"],
    ["VARCHAR(20)", "text"],
    ["CLOB", "text"],
    ["DATE", "text"],
  ] as const),
  ...([
    ["REAL", "real"],
    ["DOUBLE PRECISION", "real"],
    ["FLOAT", "real"],
    ["NUMERIC", "any"],
  ] as const),
  ...([
    ["DECIMAL(10, 2)", "any"],
    ["BLOB", "blob"],
    ["", "any"],
    ["", "any"],
    ["STRING", "any"],
  ] as const),
];
const STRICT_TYPES: readonly (readonly [type: string, kind: Kind])[] = [
  ...([
    ["INTEGER", "int"],
    ["INT", "int"],
    ["TEXT", "text"],
    ["REAL", "real"],
    ["BLOB", "blob"],
  ] as const),
  ["ANY", "any"],
];

const typesOf = (features: Features, strict: boolean): readonly (readonly [type: string, kind: Kind])[] =>
  (strict ? STRICT_TYPES : TYPES).filter(([, kind]) => kind !== "blob" || !features.bloblessly);

/** A column that others may refer to. */
export interface Target {
  readonly table: string;
  readonly column: string;
  readonly kind: Kind;
}

export interface DrawnTable {
  readonly part: TablePart;
  readonly info: TableInfo;
  readonly indexes: readonly { readonly name: string; readonly sql: string }[];
  /** What others may refer to. */
  readonly target: Target | null;
}

export interface DrawnColumn {
  readonly column: Column;
  info: ColumnInfo;
}

const ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"];

export function drawTable(
  random: Random,
  features: Features,
  names: Names,
  targets: readonly Target[],
): DrawnTable {
  const name = names.next();
  const inner = new Names(random, features.oddNames);
  const strict = random.chance(features.strict);
  const types = typesOf(features, strict);
  const style = keyStyle(random, features);
  const withoutRowid = style === "without rowid";
  const refers = style === "rowid" || withoutRowid ? targets : [];
  const columns: DrawnColumn[] = [];
  const constraints: Clause[] = [];
  const key: string[] = [];
  const nullableKey = style === "columns" && !strict && random.chance(0.15);
  let autoincrement = false;
  let ownCollations = true;
  if (style === "rowid") {
    autoincrement = random.chance(features.autoincrement);
    const column = inner.next();
    const declared = autoincrement ? "INTEGER PRIMARY KEY AUTOINCREMENT" : rowidKey(random);
    columns.push(plain(column, declared, "int", { notNull: false, free: false }));
    key.push(column);
  } else if (style !== "none") {
    const count = random.pick([1, 1, 2, 2, 3]);
    const terms: string[] = [];
    for (let i = 0; i < count; i++) {
      const column = inner.next();
      const [type, kind] = random.pick(types);
      const collation = kind === "text" || kind === "any" ? random.pick(["", "NOCASE", "RTRIM"]) : "";
      const own = random.chance(0.7);
      if (!own && collation !== "") ownCollations = false;
      const declared = [
        type,
        nullableKey ? "" : "NOT NULL",
        own && collation !== "" ? `COLLATE ${collation}` : "",
      ];
      columns.push(plain(column, words(declared), kind, { notNull: true, free: false }));
      key.push(column);
      terms.push(
        words([
          q(column),
          !own && collation !== "" ? `COLLATE ${collation}` : "",
          random.pick(["", "", "DESC"]),
        ]),
      );
    }
    constraints.push({ text: `PRIMARY KEY(${terms.join(", ")})`, columns: key });
  }
  const more =
    features.wide && random.chance(0.5)
      ? random.between(60, 200)
      : random.between(style === "none" ? 1 : 0, 5);
  for (let i = 0; i < more; i++) columns.push(drawColumn(random, features, inner, strict));
  const uniques: string[][] = [];
  const bound = (used: readonly string[]): void => {
    for (const drawn of columns)
      if (used.includes(drawn.info.name)) drawn.info = { ...drawn.info, free: false };
  };
  // References: all deferred or none. A row that violates one of each would leave plain SQLite counting the deferred one.
  const when = random.pick(["", "", "DEFERRABLE INITIALLY DEFERRED"]);
  for (const drawn of columns.slice(1, 12)) {
    if (refers.length === 0 || !random.chance(features.references)) continue;
    const target = random.pick(refers);
    if (target.kind !== drawn.info.kind) continue;
    const isKey = key.includes(drawn.info.name);
    const actions = isKey || drawn.info.notNull ? ["CASCADE", "RESTRICT", "NO ACTION"] : ACTIONS;
    const clauses = [`ON DELETE ${random.pick(actions)}`, `ON UPDATE ${random.pick(actions)}`];
    const text = `FOREIGN KEY(${q(drawn.info.name)}) REFERENCES ${q(target.table)}(${q(target.column)})`;
    constraints.push({ text: words([text, ...clauses, when]), columns: [drawn.info.name] });
    bound([drawn.info.name]);
  }
  // With dangling references, the count of SQLite depends on whether the table has triggers at all.
  if (features.enforced && style === "rowid" && random.chance(features.references / 2)) {
    const own = columns.find((c) => c.info.kind === "int" && !key.includes(c.info.name));
    if (own !== undefined) {
      // With SET NULL plain SQLite misses a violation under REPLACE, unless the table has an UPDATE trigger.
      const action = random.pick(["CASCADE", "RESTRICT", "NO ACTION"]);
      const text = words([
        `FOREIGN KEY(${q(own.info.name)}) REFERENCES ${q(name)}(${q(key[0]!)}) ON DELETE ${action}`,
        when,
      ]);
      constraints.push({ text, columns: [own.info.name] });
      bound([own.info.name]);
    }
  }
  // Generated columns that read earlier columns.
  const picks = style === "rowid" && random.chance(0.5);
  for (let i = 0; i < 3 && columns.length > 0; i++) {
    if (!random.chance(features.generated)) continue;
    const source = random.pick(columns).info.name;
    const column = inner.next();
    const s = q(source);
    const text = random.pick([
      `${s} || 'x'`,
      `lower(${s})`,
      `typeof(${s})`,
      `coalesce(${s}, '-')`,
      `length(${s})`,
      `${s} + 1`,
      `${s} IS NULL`,
      `hex(${s})`,
    ]);
    const type = strict ? "ANY" : random.pick(["", "TEXT", "INT", "ANY"]);
    columns.push({
      column: {
        name: column,
        text: words([
          type,
          random.pick(["GENERATED ALWAYS", ""]),
          `AS (${text})`,
          random.pick(["STORED", "VIRTUAL", ""]),
        ]),
        columns: [source],
      },
      info: { name: column, kind: "any", notNull: false, generated: true, free: false },
    });
    bound([source]);
  }
  // Constraints.
  const candidates = columns
    .filter((c) => !c.info.generated)
    .slice(0, 8)
    .map((c) => c.info.name);
  const indexes: { name: string; sql: string }[] = [];
  const policy = (): string =>
    random.pick(["", "", "", " ON CONFLICT REPLACE", " ON CONFLICT IGNORE", " ON CONFLICT ROLLBACK"]);
  for (let i = 0; i < 2; i++) {
    if (!random.chance(features.uniques)) continue;
    const used = some(random, candidates, random.pick([1, 1, 2]));
    if (used.length === 0 || [key, ...uniques].some((u) => sameSet(u, used))) continue; // their policies would contradict each other
    constraints.push({ text: `UNIQUE(${used.map(q).join(", ")})${policy()}`, columns: used });
    uniques.push(used);
    bound(used);
  }
  if (random.chance(features.checks)) {
    const column = random.pick(candidates);
    const test = random.pick([
      `length(${q(column)}) < 400`,
      `${q(column)} IS NULL OR typeof(${q(column)}) <> 'blob'`,
      `${q(column)} <> 3`,
      `${q(column)} IS NOT 'c'`,
    ]);
    constraints.push({ text: `CHECK(${test})`, columns: [column] });
    bound([column]);
  }
  for (let i = 0; i < 3; i++) {
    if (!random.chance(features.indexes)) continue;
    const used = some(
      random,
      columns.slice(0, 10).map((c) => c.info.name),
      random.pick([1, 1, 2]),
    );
    const terms = used.map((c) => indexTerm(random, c, features.expressions));
    const about = random.pick(columns).info.name;
    const where = random.chance(features.partial)
      ? ` WHERE ${random.pick([`${q(about)} IS NOT NULL`, `${q(about)} > 1`, `typeof(${q(about)}) = 'text'`, `${q(about)} <> 'b'`])}`
      : "";
    const unique = random.chance(0.65) ? "UNIQUE " : "";
    const index = names.next("i_");
    indexes.push({
      name: index,
      sql: `CREATE ${unique}INDEX ${q(index)} ON ${q(name)}(${terms.join(", ")})${where}`,
    });
    // Columns that ON CONFLICT may name and that rows may swap: plain columns with their declared collation.
    const isPlain = terms.every((term, n) => term.replace(/ DESC$/, "") === q(used[n]!));
    if (unique !== "" && where === "" && isPlain && ![key, ...uniques].some((u) => sameSet(u, used)))
      uniques.push(used);
    bound([...used, about]);
  }
  if (candidates.length > 0 && random.chance(features.failing)) {
    const column = random.pick(candidates);
    const { sql, name: index } = failingIndex(random, names, name, column);
    indexes.push({ name: index, sql });
    bound([column]);
  }
  if (candidates.length > 0 && features.anyOrder !== true && random.chance(features.ownFunctions)) {
    const column = random.pick(candidates);
    constraints.push({
      text: `CHECK(${OWN_FUNCTION}(${q(column)}) IS NOT 'never')`,
      columns: [column],
    });
    bound([column]);
  }
  if (
    candidates.length > 0 &&
    features.anyOrder !== true &&
    features.later.chance(features.functionsAnywhere)
  ) {
    const { column, constraint, index } = ownFunction(features, names, name, features.later.pick(candidates));
    if (column !== null) columns.push(column);
    if (constraint !== null) constraints.push(constraint);
    if (index !== null) indexes.push(index);
    bound(candidates);
  }
  const options = [withoutRowid ? "WITHOUT ROWID" : "", strict ? "STRICT" : ""].filter((o) => o !== "");
  // A row that dangles and that others dangle for: whether SQLite takes it depends on whether the table has triggers at all.
  const mayBeReferredTo = features.enforced || !constraints.some((c) => c.text.startsWith("FOREIGN KEY"));
  const target =
    mayBeReferredTo && key.length === 1 && !nullableKey && ownCollations && style !== "columns"
      ? { table: name, column: key[0]!, kind: columns[0]!.info.kind }
      : null;
  return {
    part: {
      kind: "table",
      name,
      columns: columns.map((c) => c.column),
      constraints,
      options: options.length > 0 ? ` ${options.join(", ")}` : "",
    },
    info: {
      name,
      columns: columns.map((c) => c.info),
      strict,
      withoutRowid,
      key,
      rowid: style === "rowid" ? key[0]! : null,
      autoincrement,
      picks,
      ordered: style !== "columns",
      uniques,
      searched: false,
      nullableKey,
    },
    indexes,
    target,
  };
}

/** A function that each application of a case has, and no node. It returns its argument. */
export const OWN_FUNCTION = "app_same";

/** A function that each application of a case has, and some nodes: a small integer for each kind of value. */
export const NODE_FUNCTION = "app_part";

interface OwnFunction {
  readonly column: DrawnColumn | null;
  readonly constraint: Clause | null;
  readonly index: { readonly name: string; readonly sql: string } | null;
}

/** A function of the applications, wherever a schema may call one and the nodes can write it. */
function ownFunction(
  { later, nodeFunctions }: Features,
  names: Names,
  table: string,
  of: string,
): OwnFunction {
  const c = q(of);
  const call = `${NODE_FUNCTION}(${c})`;
  const none: OwnFunction = { column: null, constraint: null, index: null };
  const generated = (how: string): OwnFunction => ({
    ...none,
    column: {
      column: { name: "own_part", text: `AS (${call}) ${how}`, columns: [of] },
      info: { name: "own_part", kind: "any", notNull: false, generated: true, free: false },
    },
  });
  const index = (unique: string, terms: string, where = ""): OwnFunction => {
    const name = names.next("i_");
    return {
      ...none,
      index: { name, sql: `CREATE ${unique}INDEX ${q(name)} ON ${q(table)}(${terms})${where}` },
    };
  };
  const anywhere = [
    () => generated("VIRTUAL"),
    () => ({ ...none, constraint: { text: `CHECK(${call} IS NOT 99)`, columns: [of] } }),
  ];
  if (nodeFunctions)
    anywhere.push(
      () => generated("STORED"),
      () => index("", call),
      () => index("UNIQUE ", `${call}, ${c}`),
      () => index("UNIQUE ", call, ` WHERE ${c} IS NOT NULL`),
      () => index("UNIQUE ", c, ` WHERE ${call} > 1`),
      () => index("", c, ` WHERE ${call} = 3`),
    );
  return later.pick(anywhere)();
}

/** An index whose expression fails for some values, most with a condition that leaves these values out. */
function failingIndex(
  random: Random,
  names: Names,
  table: string,
  column: string,
): { readonly name: string; readonly sql: string } {
  const c = q(column);
  const [term, guard] = random.pick([
    [`json_extract(${c}, '$.a')`, `json_valid(${c})`],
    [`(${c} ->> '$.a')`, `json_valid(${c})`],
    [`json_type(${c})`, `${c} LIKE '{%}'`],
    [`json_array_length(${c})`, `typeof(${c}) = 'text' AND json_valid(${c})`],
    [`abs(${c})`, `${c} > -9223372036854775808`],
  ] as const);
  const name = names.next("i_");
  const unique = random.chance(0.7) ? "UNIQUE " : "";
  const where = random.chance(0.85) ? ` WHERE ${guard}` : "";
  return { name, sql: `CREATE ${unique}INDEX ${q(name)} ON ${q(table)}(${term})${where}` };
}

const sameSet = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((c) => other.includes(c));

const words = (parts: readonly string[]): string => parts.filter((p) => p !== "").join(" ");

const plain = (
  name: string,
  text: string,
  kind: Kind,
  { notNull, free }: { notNull: boolean; free: boolean },
): DrawnColumn => ({
  column: { name, text, columns: [] },
  info: { name, kind, notNull, generated: false, free },
});

function keyStyle(random: Random, features: Features): "rowid" | "columns" | "without rowid" | "none" {
  if (random.chance(features.keyless)) return "none";
  if (random.chance(0.45)) return "rowid";
  return random.chance(features.withoutRowid) ? "without rowid" : "columns";
}

const rowidKey = (random: Random): string =>
  random.pick([
    "INTEGER PRIMARY KEY",
    "INTEGER PRIMARY KEY",
    "INTEGER NOT NULL PRIMARY KEY",
    "INTEGER PRIMARY KEY ON CONFLICT REPLACE",
  ]);

export function drawColumn(random: Random, features: Features, names: Names, strict: boolean): DrawnColumn {
  const types = typesOf(features, strict);
  const name = names.next();
  const [type, kind] = random.pick(types);
  const notNull = random.chance(0.2);
  const policy = notNull ? random.pick(["", "", " ON CONFLICT REPLACE", " ON CONFLICT IGNORE"]) : "";
  const hasDefault = policy === " ON CONFLICT REPLACE" || random.chance(features.defaults);
  const value = random.chance(strict ? 0 : 0.3)
    ? random.pick(["(1 + 1)", "(lower('X'))", "(x'00' || '')", "-1", "+1.0", "'2'", "fresh"])
    : literal(random, kind, {
        nulls: notNull ? 0 : 0.1,
        oddity: 0,
        fits: strict,
        bloblessly: features.bloblessly,
      });
  const collation = kind === "text" ? random.pick(["", "", "COLLATE NOCASE", "COLLATE RTRIM"]) : "";
  const text = words([
    type,
    notNull ? `NOT NULL${policy}` : "",
    hasDefault ? `DEFAULT ${value}` : "",
    collation,
  ]);
  const drawn = plain(name, text, kind, { notNull, free: !notNull });
  if (notNull && hasDefault) drawn.info = { ...drawn.info, defaulted: true };
  return drawn;
}

function some(random: Random, from: readonly string[], count: number): string[] {
  const out: string[] = [];
  for (let i = 0; i < count && from.length > 0; i++) {
    const one = random.pick(from);
    if (!out.includes(one)) out.push(one);
  }
  return out;
}

export function indexTerm(random: Random, column: string, expressions: number): string {
  const c = q(column);
  const term = random.chance(expressions)
    ? random.pick([
        `lower(${c})`,
        `${c} + 0`,
        `${c} || '-'`,
        `typeof(${c})`,
        `(${c} = 'a')`,
        `(${c} = 2)`,
        `(${c} IN ('1', '2'))`,
        `coalesce(${c}, 0)`,
      ])
    : c;
  return words([
    term,
    random.pick(["", "", "COLLATE NOCASE", "COLLATE RTRIM"]),
    random.pick(["", "", "DESC"]),
  ]);
}
