/** The document beside a backup: the position and the content of the file, and its hash. It is written last. */
import * as v from "valibot";
import { UserError } from "../../base/errors.ts";

/** Version of the document. A restore refuses a newer one. */
const SIDECAR_FORMAT = 1;

export interface Sidecar {
  readonly format: number;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  /** The backup is the state at this position. */
  readonly position: string;
  /** When it was taken. */
  readonly time: string;
  readonly cluster: string;
  /** The machine on which it was taken. */
  readonly host: string;
  readonly schemaVersion: number;
  readonly marmot: string;
  /** Table ⇒ rows. */
  readonly rows: Readonly<Record<string, number>>;
  /** Tables that do not replicate: they are empty. */
  readonly withoutRows: readonly string[];
  /** The result of SQLite's integrity_check. */
  readonly integrity: string;
}

const schema: v.GenericSchema<unknown, Sidecar> = v.object({
  ...{ format: v.number(), file: v.string(), bytes: v.number(), position: v.string(), time: v.string() },
  ...{ cluster: v.string(), host: v.string(), schemaVersion: v.number(), marmot: v.string() },
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  rows: v.record(v.string(), v.number()),
  ...{ withoutRows: v.array(v.string()), integrity: v.string() },
});

export const sidecarName = (file: string): string => `${file}.json`;

export const newSidecar = (facts: Omit<Sidecar, "format" | "integrity">): Sidecar => ({
  format: SIDECAR_FORMAT,
  ...facts,
  integrity: "ok",
});

/** Throws `UserError` for a document of another kind. `named`: where it is from. */
export function readSidecar(text: string, named: string): Sidecar {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    given = null;
  }
  const format = typeof given === "object" && given !== null ? (given as { format?: unknown }).format : null;
  if (typeof format === "number" && format > SIDECAR_FORMAT)
    throw new UserError(
      `${named} is of format ${format}; this build knows formats up to ${SIDECAR_FORMAT}`,
      "run the marmot version that wrote the backup, or a newer one",
    );
  const parsed = v.safeParse(schema, given);
  if (parsed.success) return parsed.output;
  throw new UserError(
    `${named} does not describe a backup of marmot`,
    "remove it to restore the file without its hash, or name another backup",
  );
}
