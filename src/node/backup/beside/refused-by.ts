/** The error of a command that ran beside the node. */
import { UserError } from "../../../base/errors.ts";

/** `err`: its standard error, which has the message and a hint. */
export function refusedBy(err: string, code: number, hint: string): UserError {
  const message = /^marmot: (.*)$/m.exec(err)?.[1] ?? `the command ended with ${code}`;
  return new UserError(message, /^hint: (.*)$/m.exec(err)?.[1] ?? hint);
}
