/** The help of verbs: fits a screen of 24 × 80 and ends with an example. */
import { environmentName } from "./options/options.ts";
import type { OptionSpec } from "./options/option-value.ts";
import { wrap, WIDTH } from "./output/wrap.ts";
import type { OptionGroup, Verb } from "./verb.ts";

/** Width of the column of option names in the help, in characters. */
const NAMES_WIDTH = 30;
/** Width of the column of group titles. */
const TITLE_WIDTH = 10;

/** `--listen ADDR,…` */
export const nameOf = ({ name, type, value }: OptionSpec): string =>
  `--${name}${type === "flag" ? "" : ` ${value ?? "VALUE"}`}`;

/** An option may share a line of the help with others; this is its own part of it. */
export const aboutOf = ({ help }: OptionSpec): string => help.replace(/^[;,\s]+|[;,\s]+$/g, "");

export function help(verb: Verb): string {
  const about = [`marmot ${verb.usage}`, verb.summary, ...(verb.details ?? []), ""];
  const lines =
    verb.groups === undefined
      ? plainOptions(verb)
      : [...groupsOf(verb).flatMap((group) => groupLines(verb, group)), "", ...more(verb)];
  return [...about, ...lines, "", `Example: ${verb.example}`].join("\n");
}

const more = ({ name }: Verb): string[] => [
  `marmot help ${name} all explains each, marmot help ${name} peers one.`,
];

function plainOptions(verb: Verb): string[] {
  const rows: { names: string; about: string }[] = [];
  for (const spec of verb.options) {
    const last = rows.at(-1);
    if (spec.joined && last !== undefined) {
      last.names += ` ${nameOf(spec)}`;
      last.about += spec.help;
    } else rows.push({ names: nameOf(spec), about: spec.help });
  }
  const width = Math.min(NAMES_WIDTH, Math.max(0, ...rows.map((r) => r.names.length)) + 2);
  return rows.map((r) => `  ${r.names.padEnd(width)}${r.names.length >= width ? " " : ""}${r.about}`);
}

/** The groups of a verb, with the options that are in none. */
export function groupsOf(verb: Verb): readonly OptionGroup[] {
  const groups = verb.groups ?? [{ title: "Options", options: verb.options.map((o) => o.name) }];
  const known = new Set(groups.flatMap((g) => g.options));
  const others = verb.options.map((o) => o.name).filter((name) => !known.has(name));
  return others.length === 0 ? groups : [...groups, { title: "Other", options: others }];
}

export const specsOf = (verb: Verb, group: OptionGroup): OptionSpec[] =>
  group.options.flatMap((name) => verb.options.filter((o) => o.name === name));

function groupLines(verb: Verb, group: OptionGroup): string[] {
  const indent = " ".repeat(TITLE_WIDTH);
  // A name and its value stay together.
  const names = specsOf(verb, group).map((spec) => nameOf(spec).replaceAll(" ", "\u00a0"));
  const lines = wrap(names.join(" "), WIDTH - TITLE_WIDTH, "")
    .replaceAll("\u00a0", " ")
    .split("\n");
  if (group.note !== undefined) return [group.note, ...lines.map((line) => indent + line)];
  return lines.map((line, i) => (i === 0 ? group.title.padEnd(TITLE_WIDTH) : indent) + line);
}

/** Each option, or one, with its meaning, its variable and an example; null: there is no such option. */
export function explain(verb: Verb, which: string): string | null {
  const name = which.replace(/^--?/, "");
  const groups = groupsOf(verb).map((group) => ({
    group,
    specs: specsOf(verb, group).filter((spec) => name === "all" || spec.name === name),
  }));
  const found = groups.filter(({ specs }) => specs.length > 0);
  if (found.length === 0) return null;
  const parts = found.flatMap(({ group, specs }) => [
    group.note ?? `${group.title}:`,
    ...specs.map(explainOne),
    "",
  ]);
  return parts.slice(0, -1).join("\n");
}

function explainOne(spec: OptionSpec): string {
  const { example, choices, minimum, maximum } = spec;
  const facts = [
    ...(choices === undefined ? [] : [`one of ${choices.join(", ")}`]),
    ...(spec.type === "number" && minimum !== undefined ? [`${minimum} to ${maximum ?? "any"}`] : []),
    ...(example === undefined ? [] : [`for example ${example}`]),
    environmentName(spec.name),
  ];
  return `  ${nameOf(spec)}\n${wrap(`      ${aboutOf(spec)}; ${facts.join("; ")}`, WIDTH, "      ")}`;
}
