/** Quoting for SQL text. Every identifier that goes into a statement goes through here. */

/** `my table` ⇒ `"my table"`, with inner quotes doubled. */
export const quoteIdentifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** `it's` ⇒ `'it''s'`. */
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;
