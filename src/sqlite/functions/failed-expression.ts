/** Errors of an expression that SQLite compiles and cannot evaluate for a row, as `json_extract` of a text that is no JSON. */
import { errorMessage } from "../../base/errors.ts";

const SQLITE_ERROR = 1;
const SQLITE_TOOBIG = 18;

/** The statement changed nothing. False for a statement that does not compile: that is no matter of the row. */
export function isFailedExpression(error: unknown): boolean {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  if (code !== SQLITE_ERROR && code !== SQLITE_TOOBIG) return false;
  return !/^(?:no such |unknown function: |near |no query solution|table |misuse)/.test(errorMessage(error));
}
