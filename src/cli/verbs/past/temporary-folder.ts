/** A folder for the files of one command. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../../base/errors.ts";
import type { CliContext } from "../../context.ts";

/** Removes it after the work, and also when a signal ends the command: the work is given up then. */
export async function inTemporaryFolder<T>(
  prefix: string,
  context: CliContext,
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const interrupted = context.interrupted();
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  context.atExit(remove);
  try {
    return await Promise.race([work(folder), interrupted.then(giveUp)]);
  } finally {
    remove();
  }
}

function giveUp(): never {
  throw new UserError("interrupted", "give the command again");
}
