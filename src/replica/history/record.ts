/** One entry of the history as it is stored: its rows with both images, its conflicts, and its schema change. */
import { Packr } from "msgpackr";
import { packExact } from "../../base/pack.ts";
import type { KeyId } from "../../change/key.ts";

/** A row that an entry changed; encoded images, null: there was none, or there is none any more. */
export type RecordedRow = readonly [table: number, before: Uint8Array | null, after: Uint8Array | null];

/** An entry of the conflict journal, and what is known of it when that drops it. */
export type RecordedConflict = readonly [
  ordinal: number,
  table: number,
  key: KeyId,
  kind: string,
  losingOrigin: number,
  winningOrigin: number,
];

export interface RecordedPart {
  readonly rows: readonly RecordedRow[];
  readonly conflicts: readonly RecordedConflict[];
  /** The encoded schema change; null: there is none. */
  readonly schema: Uint8Array | null;
}

const packr = new Packr({ useRecords: false, copyBuffers: true, int64AsType: "bigint" } as object);

export const encodePart = ({ rows, conflicts, schema }: RecordedPart): Uint8Array =>
  packExact(packr, [rows, conflicts, schema]);

export function decodePart(data: Uint8Array): RecordedPart {
  const [rows, conflicts, schema] = packr.unpack(data) as [
    RecordedRow[],
    RecordedConflict[],
    Uint8Array | null,
  ];
  return { rows, conflicts, schema };
}
