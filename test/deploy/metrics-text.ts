/** A strict reader of Prometheus' text format. Returns the offences, a line each. */
interface Family {
  readonly type: string;
  readonly series: Set<string>;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$/;
/** Units that a name must not have: base units are seconds and bytes. */
const OTHER_UNITS = /_(?:ms|milliseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(?:_|$)/;

export function offencesIn(text: string): string[] {
  const found: string[] = [];
  const families = new Map<string, Family>();
  const helps = new Set<string>();
  let current = "";
  if (!text.endsWith("\n")) found.push("the last line does not end");
  for (const line of text.split("\n").slice(0, -1)) {
    const head = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (head !== null) {
      const [, what, name, rest] = head as unknown as [string, string, string, string];
      if (!NAME.test(name)) found.push(`${name} is no name`);
      if (what === "HELP") {
        if (helps.has(name)) found.push(`${name} has two HELP lines`);
        helps.add(name);
      } else {
        if (families.has(name)) found.push(`${name} has two TYPE lines`);
        families.set(name, { type: rest, series: new Set() });
        found.push(...namingOf(name, rest));
      }
      current = name;
      continue;
    }
    const sample = SAMPLE.exec(line);
    if (sample === null) {
      found.push(`no sample: ${line}`);
      continue;
    }
    const [, name, labels = ""] = sample as unknown as [string, string, string | undefined];
    const family = families.get(current);
    const belongs =
      name === current ||
      (family?.type === "histogram" && /^_(?:bucket|sum|count)$/.test(name.slice(current.length)));
    if (family === undefined || !belongs) found.push(`${name} is not below its TYPE`);
    else if (family.series.has(`${name}{${labels}}`)) found.push(`${name}{${labels}} occurs twice`);
    else family.series.add(`${name}{${labels}}`);
  }
  for (const name of families.keys()) if (!helps.has(name)) found.push(`${name} has no HELP`);
  return [...found, ...bucketOffences(text, families)];
}

function namingOf(name: string, type: string): string[] {
  const found: string[] = [];
  if (!["counter", "gauge", "histogram"].includes(type)) found.push(`${name} has the type ${type}`);
  if ((type === "counter") !== name.endsWith("_total")) found.push(`${name} is a ${type}`);
  if (type !== "histogram" && /_(?:count|sum|bucket)$/.test(name)) found.push(`${name} is no histogram`);
  if (OTHER_UNITS.test(name)) found.push(`${name} is in no base unit`);
  return found;
}

/** Buckets rise, end with +Inf, and their last is the count. */
function bucketOffences(text: string, families: ReadonlyMap<string, Family>): string[] {
  return [...families].flatMap(([name, { type }]) => {
    if (type !== "histogram") return [];
    const buckets = [...text.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\d+)$`, "gm"))];
    const counts = buckets.map((b) => Number(b[2]));
    const count = Number(new RegExp(`^${name}_count (\\d+)$`, "m").exec(text)?.[1]);
    const rises = counts.every((n, i) => i === 0 || n >= counts[i - 1]!);
    const isWhole = buckets.at(-1)?.[1] === "+Inf" && counts.at(-1) === count;
    return rises && isWhole ? [] : [`${name}: its buckets do not rise to its count`];
  });
}
