/** Reads the column `key` of Marmot's tables. */
import type { KeyId } from "../../change/key.ts";
import { type CellReader, integer } from "../../sqlite/typed-rows.ts";

export const keyCell: CellReader<KeyId> = (cell) => (typeof cell === "string" ? cell : integer(cell));
