/** Text within the width of a terminal. */

export const WIDTH = 80;

/** Breaks between words; lines after the first are indented. A word that is too long stays whole. */
export function wrap(text: string, width = WIDTH, indent = "  "): string {
  const lines: string[] = [];
  let line = "";
  const lead = /^ */.exec(text)![0];
  for (const word of text.slice(lead.length).split(" ")) {
    const next = line === "" ? lead + word : `${line} ${word}`;
    if (Bun.stringWidth(next) <= width || line.trim() === "") line = next;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line].join("\n");
}

/** At most `width` columns, with an ellipsis where something is cut. */
export function clip(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  const letters = [...text];
  while (letters.length > 0 && Bun.stringWidth(`${letters.join("")}…`) > width) letters.pop();
  return `${letters.join("")}…`;
}
