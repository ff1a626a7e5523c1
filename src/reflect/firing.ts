/** Writes that fire triggers of the application. */
import { errorMessage, UserError } from "../base/errors.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";

/** A write may fire an application's trigger that writes tables of this node alone. Such a trigger may fail. */
export function firing(log: ChangeLogWriter, write: () => void): void {
  try {
    write();
  } catch (cause) {
    const { name } = log.shape;
    throw new UserError(
      `a row of ${name} that another node wrote cannot be shown in this file: ${errorMessage(cause)}`,
      `if a trigger of ${name} fails, fix the table that it writes, and start the node again; nothing is lost`,
      { cause },
    );
  }
}
