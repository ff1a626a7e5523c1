/** The value of one option: converted from its text, or a problem. */
import { parseDuration, showDuration } from "../../base/duration.ts";
import type { Problem } from "../output/problem.ts";

export type OptionType = "text" | "list" | "number" | "duration" | "flag";

export interface OptionSpec {
  readonly name: string;
  readonly type: OptionType;
  /** The placeholder in the help: FILE, N, … */
  readonly value?: string;
  readonly help: string;
  /** Shares a line of the help with the previous option. */
  readonly joined?: true;
  /** true: must be given; the name of another option: one of the two must be given. */
  readonly required?: true | string;
  /** A valid value, shown with the refusal of a bad one. */
  readonly example?: string;
  /** The allowed values. */
  readonly choices?: readonly string[];
  /** Limits of a number, or of a duration in milliseconds. */
  readonly minimum?: number;
  readonly maximum?: number;
  /** Checks a text value, or each item of a list. Returns null, or the expected form. */
  readonly check?: (text: string) => string | null;
}

export type OptionValue = string | number | boolean | readonly string[];

/** `source` names the origin of the value in messages: `--shards`, `MARMOT_SHARDS`, … undefined: refused. */
export function convert(
  spec: OptionSpec,
  raw: unknown,
  source: string,
  problems: Problem[],
): OptionValue | undefined {
  const refuse = (expected: string, given: unknown = raw): undefined => {
    const example = exampleOf(spec);
    const hint = spec.type === "flag" ? `give --${spec.name} alone` : `for example --${spec.name} ${example}`;
    problems.push({
      message: `${source} should be ${expected}, not ${JSON.stringify(given)}`,
      hint: `${hint}; or leave it out`,
    });
    return undefined;
  };
  if (spec.type === "flag") {
    if (raw === true || raw === "true" || raw === "1") return true;
    if (raw === false || raw === "false" || raw === "0") return false;
    return refuse("true or false");
  }
  if (spec.type === "list") return convertList(spec, raw, refuse);
  // A configuration file may give numbers without quotes; a table or an array is a mistake.
  if (!["string", "number", "bigint"].includes(typeof raw)) return refuse(spec.value ?? "a value");
  const text = String(raw);
  if (text === "" || text.includes("\0")) return refuse(spec.value ?? "a value");
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = spec;
  if (spec.type === "number") {
    const number = Number(text);
    if (!/^-?\d+$/.test(text) || number < minimum || number > maximum)
      return refuse(`a whole number from ${minimum} to ${maximum}`);
    return number;
  }
  if (spec.type === "duration") {
    const ms = parseDuration(text);
    if (ms === null || ms < minimum || ms > maximum)
      return refuse(`a duration${rangeOf(spec)} such as 500ms or 10s`);
    return ms;
  }
  if (spec.choices !== undefined && !spec.choices.includes(text)) return refuse(spec.choices.join(" or "));
  const expected = spec.check?.(text) ?? null;
  return expected === null ? text : refuse(expected);
}

function rangeOf({ minimum, maximum }: OptionSpec): string {
  if (maximum !== undefined) return ` from ${showDuration(minimum ?? 0)} to ${showDuration(maximum)},`;
  return minimum === undefined ? "" : ` of at least ${showDuration(minimum)},`;
}

/** A value that this option accepts. */
function exampleOf({ example, choices, type, minimum, maximum }: OptionSpec): string {
  if (example !== undefined) return example;
  if (choices !== undefined) return choices[0]!;
  if (type === "duration") return showDuration(minimum ?? Math.min(10_000, maximum ?? 10_000));
  return String(minimum ?? 1);
}

function convertList(
  spec: OptionSpec,
  raw: unknown,
  refuse: (expected: string, given: unknown) => undefined,
): readonly string[] | undefined {
  const parts: readonly unknown[] = Array.isArray(raw) ? raw : [raw];
  if (!parts.every((p) => typeof p === "string")) return refuse("a list of texts", raw);
  const items = parts.flatMap((p) => p.split(",")).map((x) => x.trim());
  const given = items.filter((x) => x !== "");
  if (given.length === 0) return refuse(spec.value ?? "a list", raw);
  let good = true;
  for (const item of given) {
    const expected = spec.check?.(item) ?? null;
    if (expected === null) continue;
    good = false;
    refuse(expected, item);
  }
  return good ? [...new Set(given)] : undefined;
}
