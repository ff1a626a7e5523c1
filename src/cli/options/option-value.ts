/** One option's value: from what was given, with what is wrong about it. */
import { parseDuration, showDuration } from "../../base/duration.ts";
import type { Problem } from "../output/problem.ts";

export type OptionType = "text" | "list" | "number" | "duration" | "flag";

export interface OptionSpec {
  readonly name: string;
  readonly type: OptionType;
  /** As shown in help: FILE, N, … */
  readonly value?: string;
  readonly help: string;
  /** Shares a line of the help with the option before it. */
  readonly joined?: true;
  /** Must be given; or, where it is another option's name, one of the two must. */
  readonly required?: true | string;
  /** A good value, for the cure of a bad one. */
  readonly example?: string;
  /** Allowed words. */
  readonly choices?: readonly string[];
  /** Of a number; of a duration in milliseconds. */
  readonly minimum?: number;
  readonly maximum?: number;
  /** Checks one text value, or each item of a list; returns what was expected, or null. */
  readonly check?: (text: string) => string | null;
}

export type OptionValue = string | number | boolean | readonly string[];

/** Where a value came from, as it is named in messages: `--shards`, `MARMOT_SHARDS`, … */
export function convert(
  spec: OptionSpec,
  raw: unknown,
  source: string,
  problems: Problem[],
): OptionValue | undefined {
  const refuse = (expected: string, given: unknown = raw): undefined => {
    const example = spec.example ?? spec.choices?.[0] ?? String(spec.minimum ?? 1);
    const cure = spec.type === "flag" ? `give --${spec.name} alone` : `for example --${spec.name} ${example}`;
    problems.push({
      message: `${source} should be ${expected}, not ${JSON.stringify(given)}`,
      cure: `${cure}; or leave it out`,
    });
    return undefined;
  };
  if (spec.type === "flag") {
    if (raw === true || raw === "true" || raw === "1") return true;
    if (raw === false || raw === "false" || raw === "0") return false;
    return refuse("true or false");
  }
  if (spec.type === "list") return convertList(spec, raw, refuse);
  // A file of options may give numbers and durations without quotes; anything with parts is a mistake.
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
      return refuse(
        `a duration from ${showDuration(minimum)} to ${showDuration(maximum)}, such as 500ms or 10s`,
      );
    return ms;
  }
  if (spec.choices !== undefined && !spec.choices.includes(text)) return refuse(spec.choices.join(" or "));
  const expected = spec.check?.(text) ?? null;
  return expected === null ? text : refuse(expected);
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
