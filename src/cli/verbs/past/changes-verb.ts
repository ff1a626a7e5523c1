/** `marmot changes`: the change feed on standard output, a JSON object a line. */
import { systemClock } from "../../../base/clock.ts";
import { UserError } from "../../../base/errors.ts";
import { parsePosition } from "../../../base/text/position-token.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
import { ARCHIVE_KEY_OPTION, ARCHIVE_OPTION } from "../../options/archive-options.ts";
import type { Options } from "../../options/options.ts";
import type { Problem } from "../../output/problem.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../../run-options.ts";
import { CONFIG_OPTION, dataDirOf, flag, hasNode, list, text, type Verb } from "../../verb.ts";
import { archivePlace, nodeNames } from "./archive-place.ts";
import { giveFunctions, OPTIONAL_NODE } from "./archive-verb.ts";
import { SINCE_OPTION } from "./since-option.ts";
import { inTemporaryFolder } from "./temporary-folder.ts";

/** Between two messages about the work. */
const SAY_MS = 5000;

/** The path of the feed for the options. */
export function changesPath(options: Options, follow: boolean, tables: readonly string[] | null): string {
  const query = new URLSearchParams({ follow: String(follow) });
  const since = text(options, "since");
  if (since !== null) query.set("since", since);
  if (tables !== null) query.set("tables", tables.join(","));
  return `/api/v1/changes?${query.toString()}`;
}

async function fromNode(options: Options, context: CliContext): Promise<number> {
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

/** Says at times how far the work is: a node that reads this takes it for a sign of life. */
function progress(context: CliContext): (at: string) => void {
  let saidAt = systemClock.now();
  return (at) => {
    if (systemClock.now() - saidAt < SAY_MS) return;
    saidAt = systemClock.now();
    context.say(`at ${at}`);
  };
}

async function fromArchive(options: Options, context: CliContext): Promise<number> {
  const { to, keyFile } = await archivePlace(options, null);
  const [{ archivedChanges }, { parseTarget }, { BEGUN }] = await Promise.all([
    import("../../../node/backup/archive-changes.ts"),
    import("../../../node/backup/archive-target.ts"),
    import("../../../node/backup/beside/archive-reader.ts"),
  ]);
  await giveFunctions(options);
  const [since, entry, until] = ["since", "position", "until"].map((name) => text(options, name));
  const moment = parseTarget(since!, null, Date.now());
  const names = await nodeNames(options);
  const onProgress = progress(context);
  await inTemporaryFolder("marmot-changes-", context, (folder) =>
    archivedChanges(
      {
        ...{ source: to, keyFile, names, folder, strict: true, onProgress },
        wanted:
          moment.kind === "newest" ? { kind: "entry", entry: entry! } : { kind: "since", since: moment },
        until: until == null ? null : parsePosition(until),
        tables: list(options, "tables"),
        record: text(options, "record"),
        onBegin: (from) => context.say(`${BEGUN}${to}: from the copy at ${from} on`),
      },
      ({ json }) => context.print(json),
    ),
  );
  return 0;
}

/** Options of an archive alone. The others can be in the environment of a node, too. */
const OF_ARCHIVE = ["position", "until", "record"];

const isGiven = (options: Options, name: string): boolean =>
  options[name] !== undefined && options[name] !== false;

/** A node goes on in its archive by itself, so an archive is read where no node is named, or only a part of it is wanted. */
const readsArchive = (options: Options): boolean =>
  isGiven(options, "archive") &&
  !isGiven(options, "follow") &&
  (!hasNode(options) || OF_ARCHIVE.some((name) => isGiven(options, name)));

const run = (options: Options, _words: readonly string[], context: CliContext): Promise<number> =>
  readsArchive(options) ? fromArchive(options, context) : fromNode(options, context);

function check(options: Options): readonly Problem[] {
  const problems: Problem[] = [];
  const is = (name: string): boolean => isGiven(options, name);
  const misplaced = OF_ARCHIVE.filter(is);
  if (readsArchive(options)) {
    if (is("since") === is("position"))
      problems.push({
        message: "changes of an archive needs either --since or --position",
        hint: "marmot changes --since 1h --archive /archive/app",
      });
    return problems;
  }
  if (misplaced.length > 0)
    problems.push({
      message: `--${misplaced.join(" and --")} needs --archive, and excludes --follow`,
      hint: "marmot changes --since 1h --until c:812 --archive /archive/app",
    });
  else if (!hasNode(options))
    problems.push(
      is("archive")
        ? { message: "--follow needs the FILE of a node: an archive has an end", hint: "give --db app.db" }
        : {
            message: "changes needs the FILE of a node, or an archive",
            hint: "give --db app.db, or --archive /archive/app",
          },
    );
  if (!is("since") && !is("follow") && misplaced.length === 0)
    problems.push({
      message: "changes needs --since, --follow, or both",
      hint: "marmot changes --since 10m --db app.db",
    });
  return problems;
}

const isPosition = (given: string): string | null =>
  parsePosition(given) === null ? "a position such as c:812" : null;

export const changesVerb: Verb = {
  name: "changes",
  summary: "Prints the changes of the cluster, a JSON object a line.",
  details: [
    "Whole transactions in their order, with the rows before and after. The last",
    'event of a position has "last": true: go on with --since and its position.',
  ],
  usage: "changes --since TIME --db FILE [options]",
  options: [
    ...OPTIONAL_NODE.map((option) => (option.name === "db" ? { ...option, help: "a node; " } : option)),
    SINCE_OPTION,
    { name: "follow", type: "flag", help: "go on with changes that come later" },
    { name: "tables", type: "list", value: "A,B", help: "only of these tables", example: "a,b" },
    ARCHIVE_OPTION,
    ARCHIVE_KEY_OPTION,
    {
      ...{ name: "until", type: "text", value: "POS", help: "of an archive: up to this position" },
      ...{ example: "c:812", check: isPosition },
    },
    {
      ...{ name: "position", type: "text", value: "POS", example: "c:812" },
      help: "of an archive: only this transaction",
    },
    {
      ...{ name: "record", type: "text", value: "FILE", example: "changes.db" },
      help: "of an archive: into a database, for undo",
    },
    FUNCTIONS_OPTION,
    LIBRARIES_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot changes --since 10m --follow --db app.db",
  check,
  run,
};
