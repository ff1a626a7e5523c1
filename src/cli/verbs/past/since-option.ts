/** `--since`: of the verbs that show the past. */
import { parseMoment } from "../../../base/text/moment.ts";
import { parsePosition } from "../../../base/text/position-token.ts";
import type { OptionSpec } from "../../options/option-value.ts";

const EXPECTED = "10m, a time such as 2026-11-29T12:00:00Z, or a position such as c:812";

const checkSince = (given: string): string | null =>
  parsePosition(given) !== null || parseMoment(given, Date.now()) !== null ? null : EXPECTED;

export const SINCE_OPTION: OptionSpec = {
  name: "since",
  type: "text",
  value: "TIME",
  help: "10m, a time, or a position (c:812)",
  example: "10m",
  check: checkSince,
};
