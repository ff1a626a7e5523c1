/** A folder of backups, on whichever kind of store. */

/** A folder of a file system, or a prefix of keys. Names have no slash. */
export interface BackupFolder {
  /** For messages. */
  readonly shown: string;
  names(): Promise<readonly string[]>;
  has(name: string): Promise<boolean>;
  /** null: there is none. */
  text(name: string): Promise<string | null>;
  putText(name: string, text: string): Promise<void>;
  /** The path at which a database is built that `put` takes. */
  buildAt(name: string): Promise<string>;
  /** Takes the finished file from `buildAt(name)`. Throws `UserError` if there is one of this name by now. */
  put(name: string): Promise<void>;
  stream(name: string): AsyncIterable<Uint8Array>;
  remove(name: string): Promise<void>;
}
