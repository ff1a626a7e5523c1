/** Broken invariants. Assertions are active in production: a node that contradicts itself must stop. */

/** Thrown when the program contradicts itself. Never caught in order to continue. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** Throws `AssertionError` unless `condition` holds. `message` names the invariant, not the line. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
