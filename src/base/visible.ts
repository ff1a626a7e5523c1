/**
 * Texts of others, printed: control characters would move the cursor or clear the screen, and marks of direction would show
 * other words than there are. They are shown as JSON escapes them, so a JSON document stays one.
 */

/** Control characters, separators of lines, and marks of direction. */
const HIDDEN = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** On one line. */
export const visible = (text: string): string => text.replace(HIDDEN, escaped);

/** Line breaks and tabs stay. */
export const visibleLines = (text: string): string =>
  text.replace(HIDDEN, (character) =>
    character === "\n" || character === "\t" ? character : escaped(character),
  );
