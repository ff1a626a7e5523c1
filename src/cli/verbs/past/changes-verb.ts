/** `marmot changes`: the change feed on standard output, a JSON object a line. */
import { UserError } from "../../../base/errors.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
import type { Options } from "../../options/options.ts";
import { CONFIG_OPTION, dataDirOf, flag, list, NODE_OPTIONS, text, type Verb } from "../../verb.ts";
import { SINCE_OPTION } from "./since-option.ts";

/** The path of the feed for the options. */
export function changesPath(options: Options, follow: boolean, tables: readonly string[] | null): string {
  const query = new URLSearchParams({ follow: String(follow) });
  const since = text(options, "since");
  if (since !== null) query.set("since", since);
  if (tables !== null) query.set("tables", tables.join(","));
  return `/api/v1/changes?${query.toString()}`;
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const client = new NodeClient(dataDirOf(options));
  const follow = flag(options, "follow");
  const interrupted = context.interrupted().then(() => null);
  const lines = client.lines(changesPath(options, follow, list(options, "tables")));
  for (;;) {
    const next = await Promise.race([lines.next(), interrupted]);
    if (next === null || next.done === true) return 0;
    const { kind, reason } = JSON.parse(next.value) as { kind: string; reason?: string };
    if (kind === "alive") continue;
    if (kind === "end")
      throw new UserError(
        reason ?? "the feed ended",
        "give the command again with --since and the last position",
      );
    context.print(next.value);
  }
}

export const changesVerb: Verb = {
  name: "changes",
  summary: "Prints the changes of the cluster, a JSON object a line.",
  details: [
    "Whole transactions in their order, with the rows before and after; schema",
    "changes and conflicts are events of their own. The last event of a position",
    'has "last": true: go on with --since and its position.',
  ],
  usage: "changes --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    SINCE_OPTION,
    { name: "follow", type: "flag", help: "go on with changes that come later" },
    { name: "tables", type: "list", value: "A,B", help: "only of these tables", example: "a,b" },
    CONFIG_OPTION,
  ],
  example: "marmot changes --since 10m --follow --db app.db",
  check: (options) =>
    text(options, "since") === null && !flag(options, "follow")
      ? [
          {
            message: "changes needs --since, --follow, or both",
            hint: "marmot changes --since 10m --db app.db",
          },
        ]
      : [],
  run,
};
