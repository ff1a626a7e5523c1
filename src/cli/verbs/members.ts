/** `marmot members`: lists and changes the members of the cluster. */
import { isNodeName, MAX_NODE_NAME } from "../../base/names.ts";
import type { MemberAction, MemberStatus, NodeStatus } from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { OptionSpec } from "../options/option-value.ts";
import type { Options } from "../options/options.ts";
import type { Problem } from "../output/problem.ts";
import { table } from "../output/table.ts";
import { recoverMembers } from "../recover-members.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, NODE_OPTIONS, type Verb } from "../verb.ts";

/** Longer than the node waits for a majority. */
const CHANGE_MS = 30_000;

const YES_OPTION: OptionSpec = {
  name: "yes",
  type: "flag",
  help: "recover without a question",
};

/** Action ⇒ the words that follow it. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  list: [],
  remove: ["NAME"],
  promote: ["NAME"],
  demote: ["NAME"],
  rename: ["NAME", "NEW"],
  transfer: ["NAME"],
  recover: [],
};

const DONE: Readonly<Record<MemberAction, (name: string, to: string) => string>> = {
  remove: (name) => `${name} is no member any more; it is refused until marmot rejoin is run on it`,
  promote: (name) => `${name} is a voter`,
  demote: (name, to) => `${name} is a ${to || "learner"}`,
  rename: (name, to) => `${name} has the name ${to} now`,
  transfer: (name) => `${name} leads`,
};

function check(options: Options, words: readonly string[]): readonly Problem[] {
  const [action = "list", ...rest] = words;
  const wanted = Object.hasOwn(WORDS, action) ? WORDS[action]! : null;
  if (flag(options, "reader") && action !== "demote")
    return [
      {
        message: `--reader goes with members demote, not with members ${action}`,
        hint: "for example marmot members demote node-3 --reader --db app.db",
      },
    ];
  if (wanted !== null && wanted.length === rest.length) return rest.flatMap(badName);
  const message =
    wanted === null
      ? `members should be followed by ${Object.keys(WORDS).join(", ")}, not by ${action}`
      : `members ${action} should be followed by ${wanted.join(" ") || "nothing"}, not by ${rest.join(" ") || "nothing"}`;
  return [{ message, hint: "marmot members list --db app.db shows the names" }];
}

/** A name that a member has already may be any text; a new one may not. */
const badName = (name: string, at: number): Problem[] =>
  (at === 0 ? name !== "" : isNodeName(name))
    ? []
    : [
        {
          message: `the name of a member should be 1 to ${MAX_NODE_NAME} printable characters, not ${JSON.stringify(name)}`,
          hint: "marmot members list --db app.db shows the names",
        },
      ];

function showMembers(members: readonly MemberStatus[]): string {
  const rows = members.map((m) => [
    m.name,
    m.role,
    m.connected ? "yes" : "no",
    m.lagEntries === null ? "?" : String(m.lagEntries),
    m.version,
    m.addresses[0] ?? "",
    m.peerId,
  ]);
  return table(["NODE", "ROLE", "CONNECTED", "BEHIND", "VERSION", "ADDRESS", "PEER ID"], rows);
}

/** A node that joins, or is halted, knows no members. */
async function sayNoMembers(client: NodeClient, context: CliContext): Promise<number> {
  const { node } = await client.request<NodeStatus>("GET", "/api/v1/status");
  context.say(`this node knows no members now: ${node.waitingFor || "it is starting"}`);
  return 1;
}

async function run(options: Options, words: readonly string[], context: CliContext): Promise<number> {
  const [action = "list", name] = words;
  if (action === "recover") return recoverMembers(options, context);
  const to = flag(options, "reader") ? "reader" : words[2];
  const client = new NodeClient(dataDirOf(options));
  if (action === "list") {
    const members = await client.request<readonly MemberStatus[]>("GET", "/api/v1/members");
    context.print(flag(options, "json") ? JSON.stringify(members) : showMembers(members));
    return members.length > 0 ? 0 : sayNoMembers(client, context);
  }
  const query = to === undefined ? "" : `?to=${encodeURIComponent(to)}`;
  const path = `/api/v1/members/${encodeURIComponent(name!)}/${action}${query}`;
  const result = await client.request("POST", path, CHANGE_MS);
  context.print(
    flag(options, "json") ? JSON.stringify(result) : DONE[action as MemberAction](name!, to ?? ""),
  );
  return 0;
}

export const membersVerb: Verb = {
  name: "members",
  summary: "Lists and changes the members of the cluster.",
  details: [
    "members [list] | remove NAME | promote NAME | demote NAME | rename NAME NEW |",
    "transfer NAME. Any node of the cluster can be asked; a majority must be there.",
    "members recover: the majority is lost for good; the node of FILE goes on alone.",
  ],
  usage: "members [ACTION] [NAME] [--yes] --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    { name: "reader", type: "flag", help: "demote: its file refuses the writes of applications" },
    YES_OPTION,
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  words: 3,
  actions: Object.keys(WORDS),
  example: "marmot members remove node-3 --db app.db",
  check,
  run,
};
