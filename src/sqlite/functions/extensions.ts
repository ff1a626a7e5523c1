/**
 * Functions, collations and modules that an application adds to SQLite, given to this process by `--functions` and
 * `--load-extension`. Each connection that is opened afterwards has them.
 */
import type { Database } from "bun:sqlite";
import type { DatabaseSync } from "node:sqlite";

type Argument = null | number | bigint | string | Uint8Array;

/** A function of the application, in JavaScript. Equal arguments must give equal results. */
export type ApplicationFunction = (...values: Argument[]) => unknown;

export interface Extensions {
  /** Paths of shared libraries, loaded in this order. */
  readonly libraries: readonly string[];
  readonly functions: ReadonlyMap<string, ApplicationFunction>;
  /** Folded names of all functions that they bring. */
  readonly names: ReadonlySet<string>;
  /** Nodes compare it; "": none are given. */
  readonly digest: string;
}

const NO_EXTENSIONS: Extensions = { libraries: [], functions: new Map(), names: new Set(), digest: "" };

let given: Extensions = NO_EXTENSIONS;

/** Once, before a file is opened. */
export function useExtensions(extensions: Extensions): void {
  given = extensions;
}

export const extensions = (): Extensions => given;

/** An integer that JavaScript holds exactly is a number for the function, as most functions expect. */
const argument = (value: Argument): Argument =>
  typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;

/** A whole number is an INTEGER, as in Python and most other bindings. */
function result(value: unknown): Argument {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return value ? 1n : 0n;
  if (typeof value === "number")
    return Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value;
  if (typeof value === "bigint" || typeof value === "string" || value instanceof Uint8Array) return value;
  throw new TypeError(
    `a function of --functions returned ${typeof value}; SQLite stores numbers, texts, bytes and null`,
  );
}

/** Gives a new connection the extensions. */
export function extend(db: DatabaseSync): void {
  if (given.libraries.length > 0) {
    db.enableLoadExtension(true);
    for (const path of given.libraries) db.loadExtension(path);
    db.enableLoadExtension(false);
  }
  for (const [name, run] of given.functions)
    db.function(
      name,
      { varargs: true, deterministic: true, useBigIntArguments: true },
      (...values: unknown[]) => result(run(...(values as Argument[]).map(argument))),
    );
}

/** The same for the connections that read only: no statement of theirs calls a function. */
export function extendReader(db: Database): void {
  for (const path of given.libraries) db.loadExtension(path);
}
