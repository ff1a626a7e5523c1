/** `--since`: of the verbs that show the past. */
import type { OptionSpec } from "../../options/option-value.ts";

export const SINCE_OPTION: OptionSpec = {
  name: "since",
  type: "text",
  value: "TIME",
  help: "10m, a time, or a position (c:812)",
  example: "10m",
};
