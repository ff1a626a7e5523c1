/** Names as SQLite tells them apart: without the case of ASCII letters, and of these alone ("É" is not "é"). */

export const foldName = (name: string): string => name.replace(/[A-Z]+/g, (part) => part.toLowerCase());
