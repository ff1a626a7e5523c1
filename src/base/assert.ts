/** Broken invariants. Assertions stay on in production: a node that contradicts itself must stop, not guess. */

/** Thrown when the program contradicts itself. Never caught to go on. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** Throws `AssertionError` unless `condition` holds. `message` names the invariant, not the line. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
