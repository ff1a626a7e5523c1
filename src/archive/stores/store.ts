/** Where an archive is: a folder, or a prefix in S3. Names are paths below it. */

export interface ArchiveStore {
  /** For messages; without credentials. */
  readonly shown: string;
  /** Names of the folder, sorted, those after `after` alone. Names of subfolders are not among them. */
  list(folder: string, after?: string): Promise<string[]>;
  /** Its subfolders, sorted, each with its slash. */
  folders(folder: string): Promise<string[]>;
  /** null: there is none. */
  get(name: string): Promise<Uint8Array | null>;
  /** Writes a new object, whole or not at all. False: there is one of this name, and it stays. */
  create(name: string, bytes: Uint8Array): Promise<boolean>;
  /** The same, but replaces one of this name. */
  put(name: string, bytes: Uint8Array): Promise<void>;
  /** A large object. `open`: begins with the first chunk, at each attempt. */
  upload(name: string, open: () => AsyncIterable<Uint8Array>): Promise<void>;
  stream(name: string): AsyncIterable<Uint8Array>;
  remove(name: string): Promise<void>;
  /** Removes files that a process which was killed left before this time. */
  sweep(before: number): Promise<void>;
}

export const decodeText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
export const encodeText = (text: string): Uint8Array => new TextEncoder().encode(text);
