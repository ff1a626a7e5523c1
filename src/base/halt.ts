/**
 * A halt: the node stays up and does not replicate until the cause is removed. `/readyz`, status, the log and `wait` give the
 * same sentence.
 */
import { errorMessage, UserError } from "./errors.ts";

export type HaltName =
  | "bad-entry"
  | "file-replaced"
  | "file-older"
  | "damaged"
  | "functions-missing"
  | "went-back"
  | "twice"
  | "log-lost"
  | "removed"
  | "superseded"
  | "update";

export interface Halt {
  readonly name: HaltName;
  /** The problem, with the path or the peer. */
  readonly reason: string;
  /** One command or edit that helps. */
  readonly hint: string;
}

export const haltSentence = ({ name, reason, hint }: Halt): string => `${name}: ${reason}; hint: ${hint}`;

/** Ends the work of a node in favour of a halt. Where nothing can be halted, it is an ordinary error for users. */
export class HaltError extends UserError {
  override name = "HaltError";
  readonly halt: Halt;

  constructor(halt: Halt, options?: ErrorOptions) {
    super(`${halt.name}: ${halt.reason}`, halt.hint, options);
    this.halt = halt;
  }
}

/** A committed entry cannot be decoded or applied, now or at another try. */
export class EntryError extends Error {
  override name = "EntryError";
  readonly shard: number;
  readonly index: number;

  constructor(shard: number, index: number, cause: unknown) {
    super(`entry ${index} of shard ${shard} cannot be applied: ${errorMessage(cause)}`, { cause });
    this.shard = shard;
    this.index = index;
  }
}
