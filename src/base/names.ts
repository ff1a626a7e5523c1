/** Names as SQLite compares them: it ignores the case of ASCII letters only ("É" is not "é"). */

export const foldName = (name: string): string => name.replace(/[A-Z]+/g, (part) => part.toLowerCase());

/** False if one of them is missing. */
export const isSameName = (a: string | null | undefined, b: string | null | undefined): boolean =>
  a != null && b != null && (a === b || (a.length === b.length && foldName(a) === foldName(b)));

export const MAX_NODE_NAME = 64;

/** Printable, without spaces around it. */
export const isNodeName = (name: string): boolean =>
  name.length > 0 && name.length <= MAX_NODE_NAME && !/[\p{Cc}\p{Cf}]/u.test(name) && name.trim() === name;
