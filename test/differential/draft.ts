/** A case before it is text: parts that a shrinking step can take out one by one. */
import { quoteIdentifier as q } from "../../src/sqlite/quote.ts";
import type { Case, Step } from "./case.ts";

/** A piece of SQL that cannot stand without these columns of its table. */
export interface Clause {
  readonly text: string;
  readonly columns: readonly string[];
}

export interface Column extends Clause {
  readonly name: string;
}

export interface TablePart {
  readonly kind: "table";
  readonly name: string;
  readonly columns: readonly Column[];
  readonly constraints: readonly Clause[];
  /** After the closing bracket. */
  readonly options: string;
}

export type Statement =
  | {
      readonly kind: "insert";
      /** "INSERT OR REPLACE INTO". */
      readonly head: string;
      readonly table: string;
      readonly columns: readonly string[];
      readonly rows: readonly (readonly string[])[];
      readonly tail: string;
    }
  | {
      readonly kind: "update";
      /** "UPDATE OR IGNORE". */
      readonly head: string;
      readonly table: string;
      /** " NOT INDEXED", " INDEXED BY …" or nothing. */
      readonly hint: string;
      readonly sets: readonly (readonly [column: string, value: string])[];
      readonly tail: string;
    }
  | { readonly kind: "sql"; readonly text: string };

export type SchemaPart = TablePart | Statement;

export interface DraftStep extends Omit<Step, "sql"> {
  readonly statements: readonly Statement[];
}

export interface Draft extends Omit<Case, "schema" | "steps"> {
  readonly schema: readonly SchemaPart[];
  readonly steps: readonly DraftStep[];
}

export const sql = (text: string): Statement => ({ kind: "sql", text });

export function renderPart(part: SchemaPart): string {
  if (part.kind !== "table") return renderStatement(part);
  const inner = [
    ...part.columns.map((c) => `${q(c.name)} ${c.text}`.trimEnd()),
    ...part.constraints.map((c) => c.text),
  ];
  return `CREATE TABLE ${q(part.name)}(${inner.join(", ")})${part.options}`;
}

export function renderStatement(statement: Statement): string {
  const { kind } = statement;
  if (kind === "sql") return statement.text;
  const { head, table, tail } = statement;
  if (kind === "update") {
    const sets = statement.sets.map(([column, value]) => `${q(column)} = ${value}`);
    return `${head} ${q(table)}${statement.hint} SET ${sets.join(", ")}${tail}`;
  }
  const rows = statement.rows.map((row) => `(${row.join(", ")})`);
  const columns = statement.columns.map(q).join(", ");
  if (columns === "") return `${head} ${q(table)} DEFAULT VALUES`;
  return `${head} ${q(table)}(${columns}) VALUES${rows.join(", ")}${tail}`;
}

export function render(draft: Draft): Case {
  const { schema, steps, ...rest } = draft;
  return {
    ...rest,
    schema: schema.map(renderPart),
    steps: steps.map(({ node, settled, statements }) => ({
      node,
      settled,
      sql: statements.map(renderStatement),
    })),
  };
}

/** Without one column of a table: whatever names it goes, too, where that can be told. */
export function withoutColumn(draft: Draft, table: string, column: string): Draft {
  const slim = (statement: Statement): Statement => {
    if (statement.kind === "sql" || statement.table !== table) return statement;
    if (statement.kind === "update") {
      const sets = statement.sets.filter(([c]) => c !== column);
      return sets.length === 0 ? sql("SELECT 1") : { ...statement, sets };
    }
    const at = statement.columns.indexOf(column);
    if (at === -1) return statement;
    return {
      ...statement,
      columns: statement.columns.toSpliced(at, 1),
      rows: statement.rows.map((row) => row.toSpliced(at, 1)),
    };
  };
  return {
    ...draft,
    schema: draft.schema.map((part) => {
      if (part.kind !== "table") return slim(part);
      if (part.name !== table) return part;
      return {
        ...part,
        columns: part.columns.filter((c) => c.name !== column && !c.columns.includes(column)),
        constraints: part.constraints.filter((c) => !c.columns.includes(column)),
      };
    }),
    steps: draft.steps.map((step) => ({ ...step, statements: step.statements.map(slim) })),
  };
}
