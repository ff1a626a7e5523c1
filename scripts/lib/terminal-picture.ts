/** A terminal as an SVG: each line appears when it came. Readers who want no motion see all lines. */

export interface TimedLine {
  readonly text: string;
  readonly seconds: number;
}

const COLUMN = 7.8;
const LINE = 19;
const MARGIN = 16;
const COLUMNS = 84;
/** The picture begins again after the last line has been shown for so long. */
const REST_S = 6;

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export function terminalPicture(command: string, lines: readonly TimedLine[]): string {
  const all = [{ text: `$ ${command}`, seconds: 0 }, ...lines];
  const total = (lines.at(-1)?.seconds ?? 0) + REST_S;
  const [width, height] = [Math.round(COLUMNS * COLUMN) + 2 * MARGIN, all.length * LINE + 2 * MARGIN];
  const at = (i: number): number => MARGIN + (i + 1) * LINE - 5;
  const rules = all.map(({ seconds }, i) => {
    const share = ((seconds / total) * 100).toFixed(2);
    return `@keyframes l${i}{0%,${share}%{opacity:0}${share}1%,100%{opacity:1}}#l${i}{animation:l${i} ${total.toFixed(1)}s infinite}`;
  });
  const texts = all.map(
    ({ text }, i) =>
      `<text id="l${i}" x="${MARGIN}" y="${at(i)}" class="${classOf(i, all)}">${escaped(text)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="The output of ${escaped(command)}">
<style>
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d7dde5;white-space:pre}
.command{fill:#8fd3ff}.good{fill:#8ee6a1}
${rules.join("\n")}
@media (prefers-reduced-motion:reduce){text{animation:none!important}}
</style>
<rect width="${width}" height="${height}" rx="8" fill="#161b22"/>
${texts.join("\n")}
</svg>
`;
}

const classOf = (i: number, all: readonly TimedLine[]): string =>
  i === 0 ? "command" : i === all.length - 1 ? "good" : "line";
