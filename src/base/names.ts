/** Names as SQLite tells them apart: without the case of ASCII letters, and of these alone ("É" is not "é"). */

export const foldName = (name: string): string => name.replace(/[A-Z]+/g, (part) => part.toLowerCase());

/** False where one of them is missing. */
export const isSameName = (a: string | null | undefined, b: string | null | undefined): boolean =>
  a != null && b != null && (a === b || (a.length === b.length && foldName(a) === foldName(b)));
