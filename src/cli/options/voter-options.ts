/** Options of `run` for voters: when a silent one is replaced, and where leaders go. */
import { parseDuration } from "../../base/duration.ts";
import type { OptionSpec } from "./option-value.ts";

const SHORTEST_MS = 1000;

/** Milliseconds, 0: never; null: neither 0 nor a duration of at least a second. */
export function replaceAfter(given: string): number | null {
  if (given === "0") return 0;
  const ms = parseDuration(given);
  return ms === 0 || (ms !== null && ms >= SHORTEST_MS) ? ms : null;
}

export const REPLACE_AFTER_OPTION: OptionSpec = {
  name: "replace-after",
  type: "text",
  value: "TIME",
  help: "a silent voter's end (10m)",
  joined: true,
  example: "10m",
  check: (given) => (replaceAfter(given) === null ? "a duration of at least 1s, such as 10m; or 0" : null),
};

export const FOLLOWS_OPTION: OptionSpec = {
  name: "leader-follows-writer",
  type: "text",
  value: "on|off",
  help: "(on)",
  joined: true,
  choices: ["on", "off"],
};
