/** Opens a file whose schema an application made. */
import { DatabaseSync } from "node:sqlite";
import { extend, extensions } from "./functions/extensions.ts";

export interface OpenOptions {
  readonly readOnly?: boolean;
  /** Milliseconds to wait for a lock. Default 0: no wait. */
  readonly timeout?: number;
  /** "abc" is the text 'abc' where no column has that name. Default: true, as applications have it. */
  readonly doubleQuotedTexts?: boolean;
}

/**
 * SQLite reads "abc" as the text 'abc' where no column has that name, unless configured otherwise. Bun's
 * `node:sqlite` does
 * configure it otherwise. Schemas with such texts work in applications, so they must work here. Foreign keys are
 * enforced
 * where the application writes.
 */
export function openDatabase(path: string, options: OpenOptions = {}): DatabaseSync {
  const db = new DatabaseSync(path, sqliteOptions(options));
  extend(db);
  return db;
}

export const sqliteOptions = ({
  doubleQuotedTexts = true,
  ...options
}: OpenOptions): ConstructorParameters<typeof DatabaseSync>[1] => ({
  enableDoubleQuotedStringLiterals: doubleQuotedTexts,
  enableForeignKeyConstraints: false,
  allowExtension: extensions().libraries.length > 0,
  ...options,
});
