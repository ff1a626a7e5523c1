/** `marmot members recover`: shows the effects, asks, and begins a new epoch, on a running node or on its files. */
import { UserError } from "../base/errors.ts";
import type { Recovery } from "../operations/api.ts";
import { NodeClient } from "./client.ts";
import type { CliContext } from "./context.ts";
import type { Options } from "./options/options.ts";
import { dataDirOf, flag, text } from "./verb.ts";

const ANSWER_MS = 2000;
const PLAN_MS = 30_000;
/** The node closes its files and opens them again. */
const RECOVER_MS = 300_000;

const listed = (names: readonly string[]): string => names.join(", ");

/** What may be lost, and which conditions the operator must check, in a few lines. */
export function showPlan({ node, epoch, leaves, stays, lastEntries, unconfirmed }: Recovery): string {
  const ends = lastEntries.map((index, shard) => `${index} of shard ${shard}`);
  const others =
    leaves.length === 0
      ? ""
      : `; ${listed(leaves)} ${leaves.length === 1 ? "is no member" : "are no members"} any more`;
  return [
    `${node} becomes the only voter, in epoch ${epoch} of the cluster${others}`,
    ...(stays.length === 0
      ? []
      : [`learners stay, unless they have entries that ${node} lacks: ${listed(stays)}`]),
    "may be lost: writes that the others confirmed and that never reached this node:",
    `  all after entry ${listed(ends)}`,
    ...(unconfirmed > 0 ? [`kept although perhaps never confirmed: its last ${unconfirmed} entries`] : []),
    ...(leaves.length === 0
      ? []
      : [
          "A former member refuses to run on when it meets this node. Make sure that no",
          "majority of them runs where it cannot meet it: that would be a second cluster.",
        ]),
  ].join("\n");
}

export function showDone({ node, epoch, leaves }: Recovery): string {
  const again = leaves.length === 0 ? "" : `; marmot rejoin on a former member makes it a new one`;
  return `${node} is the only voter, in epoch ${epoch}${again}`;
}

/** Returns the exit code. */
export async function recoverMembers(options: Options, context: CliContext): Promise<number> {
  const recover = await recovery(options);
  const isJson = flag(options, "json");
  const plan = await recover({ plan: true });
  if (!flag(options, "yes")) {
    context.print(isJson ? JSON.stringify(plan) : showPlan(plan));
    if (isJson || context.ask("Go on? (yes or no)") !== "yes")
      throw new UserError(
        "nothing was changed: the recovery was not confirmed",
        "give --yes to confirm that these losses are acceptable",
      );
  } else if (!isJson) context.say(showPlan(plan));
  const done = await recover({ plan: false });
  context.print(isJson ? JSON.stringify(done) : showDone(done));
  return 0;
}

type Recover = (options: { readonly plan: boolean }) => Promise<Recovery>;

async function recovery(options: Options): Promise<Recover> {
  const dataDir = dataDirOf(options);
  const client = new NodeClient(dataDir);
  if (await client.answers(ANSWER_MS))
    return ({ plan }) =>
      client.request<Recovery>(
        "POST",
        `/api/v1/members/recover${plan ? "?plan=true" : ""}`,
        plan ? PLAN_MS : RECOVER_MS,
      );
  const db = text(options, "db");
  if (db === null)
    throw new UserError("no node runs here, so --db FILE is needed", "give --db beside --data-dir");
  const { recoverStopped } = await import("../node/offline/recover.ts");
  return (plan) => recoverStopped(db, dataDir, plan);
}
