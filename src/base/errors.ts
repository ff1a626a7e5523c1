/** Errors for the world outside: what was expected, what came, and the cure. */

/** A problem a user can act on. The message says what was expected and what came; `cure` says what to do. */
export class UserError extends Error {
  override name = "UserError";
  readonly cure: string;

  constructor(message: string, cure: string, options?: ErrorOptions) {
    super(message, options);
    this.cure = cure;
  }
}

/** Wrong usage: options that are unknown, malformed or contradict each other. Exit code 2. */
export class UsageError extends UserError {
  override name = "UsageError";
}

export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
