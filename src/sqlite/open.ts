/** How a file is opened whose schema an application made. */
import { DatabaseSync } from "node:sqlite";

export interface OpenOptions {
  readonly readOnly?: boolean;
  /** Milliseconds to wait for a lock; 0: not at all, the default. */
  readonly timeout?: number;
  /** "abc" is the text 'abc' where no column has that name. Default: true, as applications have it. */
  readonly doubleQuotedTexts?: boolean;
}

/**
 * SQLite takes "abc" for the text 'abc' where no column has that name, unless it was told not to; Bun's `node:sqlite` tells
 * it. Schemas full of such texts work in applications, so they must here. Foreign keys act where the application writes.
 */
export const openDatabase = (path: string, options: OpenOptions = {}): DatabaseSync =>
  new DatabaseSync(path, sqliteOptions(options));

export const sqliteOptions = ({
  doubleQuotedTexts = true,
  ...options
}: OpenOptions): ConstructorParameters<typeof DatabaseSync>[1] => ({
  enableDoubleQuotedStringLiterals: doubleQuotedTexts,
  enableForeignKeyConstraints: false,
  ...options,
});
