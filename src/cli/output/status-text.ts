/** The text of `marmot status`: the verdict, the nodes, the work and the things to do. */
import { counted, shellWord, showCount, showSpan } from "../../base/text/spans.ts";
import type { Finding, MemberStatus, NodeStatus } from "../../operations/api.ts";
import type { Paint } from "./color.ts";
import { describe } from "./progress-line.ts";
import { table } from "./table.ts";
import { clip, wrap, WIDTH } from "./wrap.ts";

/** Columns of a name where addresses and ids are not shown. */
const NAME_WIDTH = 26;
/** Tables that do not replicate and are named one by one; the rest is counted. */
const MAX_SKIPPED = 5;
/** A member is said to be seen now if it was heard within this time. */
const NOW_MS = 3000;

export interface StatusTextOptions {
  /** Also addresses, ids, shards and settings. Lines may be longer than 80 columns. */
  readonly wide: boolean;
  /** The caller's own way to name the node, such as `--db app.db`; it replaces the node's path in commands. */
  readonly locator: string;
  readonly paint: Paint;
}

export function statusText(status: NodeStatus, options: StatusTextOptions): string {
  const { wide, paint } = options;
  const { text, level } = status.verdict;
  const parts = [paint(level, wide ? text : wrapVerdict(text))];
  if (status.progress !== null) parts.push(describe(status.progress));
  if (status.members.length > 0) parts.push("", wide ? wideNodes(status) : nodes(status));
  if (wide && status.shards.length > 0) parts.push("", shards(status));
  if (wide) parts.push("", ...settings(status));
  parts.push("", ...work(status).map((line) => (wide ? line : wrap(line))));
  parts.push("", ...todo(status, options));
  return parts.join("\n");
}

/** Broken at the dots between its parts. */
function wrapVerdict(text: string): string {
  const lines: string[] = [];
  let line = "";
  for (const part of text.split(" · ")) {
    const next = line === "" ? part : `${line} · ${part}`;
    if (line === "" || Bun.stringWidth(next) <= WIDTH) line = next;
    else {
      lines.push(line);
      line = `  ${part}`;
    }
  }
  return [...lines, line].map((l) => (Bun.stringWidth(l) <= WIDTH ? l : wrap(l))).join("\n");
}

const isOwn = ({ node }: NodeStatus, m: MemberStatus): boolean => m.peerId === node.peerId;

const marked = (status: NodeStatus, m: MemberStatus): string => (isOwn(status, m) ? "*" : " ");

const stateOf = (m: MemberStatus): string => (m.connected ? m.role : `silent ${m.role}`);

/** `leader`; with several shards `leads 3 of 16`. */
function leads({ cluster }: NodeStatus, m: MemberStatus): string {
  if (m.leads.length === 0) return "";
  return cluster.shards === 1 ? "leader" : `leads ${m.leads.length} of ${cluster.shards}`;
}

function behind({ lagEntries, lagMs }: MemberStatus): string {
  if (lagEntries === null) return "?";
  return lagEntries > 0 && lagMs !== null
    ? `${showCount(lagEntries)}, ${showSpan(lagMs)}`
    : showCount(lagEntries);
}

function seen(status: NodeStatus, m: MemberStatus): string {
  if (isOwn(status, m)) return "-";
  if (m.lastSeenMs === null) return m.connected ? "now" : "never";
  return m.lastSeenMs < NOW_MS ? "now" : `${showSpan(m.lastSeenMs)} ago`;
}

function nodes(status: NodeStatus): string {
  const rows = status.members.map((m) => [
    marked(status, m) + clip(m.name, NAME_WIDTH),
    stateOf(m),
    leads(status, m),
    behind(m),
    seen(status, m),
    m.version,
  ]);
  return table([" NODE", "STATE", "", "BEHIND", "SEEN", "VERSION"], rows);
}

const AGREES = { null: "?", true: "yes", false: "NO" } as const;

function wideNodes(status: NodeStatus): string {
  const rows = status.members.map((m) => [
    marked(status, m) + m.name,
    stateOf(m),
    leads(status, m),
    behind(m),
    seen(status, m),
    m.roundTripMs === null ? "-" : `${m.roundTripMs.toFixed(1)} ms`,
    AGREES[`${m.checksumAgrees}`],
    m.version,
    m.addresses[0] ?? "",
    m.peerId,
  ]);
  const head = [
    " NODE",
    "STATE",
    "",
    "BEHIND",
    "SEEN",
    "ROUND TRIP",
    "AGREES",
    "VERSION",
    "ADDRESS",
    "PEER ID",
  ];
  return table(head, rows);
}

function shards(status: NodeStatus): string {
  const rows = status.shards.map((s) =>
    [s.shard, s.role, s.leader || "none", s.term, s.commitIndex, s.appliedIndex, s.pendingChanges].map(
      String,
    ),
  );
  return table(["SHARD", "ROLE", "LEADER", "TERM", "COMMIT", "APPLIED", "PENDING"], rows);
}

function settings({ node, cluster }: NodeStatus): string[] {
  return [
    `node ${node.name} ${node.peerId}, marmot ${node.version}, up ${showSpan(node.uptimeMs)}, ${node.file}`,
    `cluster ${cluster.id || "none yet"}, ${cluster.shards} shards, transactions ${cluster.transactions}, schema ${cluster.schemaVersion}, key ${cluster.keyFingerprint}`,
  ];
}

function work({ pending, conflicts, tables, verified }: NodeStatus): string[] {
  const age = pending.changes > 0 ? `, the oldest ${showSpan(pending.oldestMs)} old` : "";
  const orphans = conflicts.orphans > 0 ? `, dangling references ${conflicts.orphans}` : "";
  const compared =
    verified === null
      ? "not compared since the start"
      : `compared ${showSpan(verified.agoMs)} ago: ${verified.equal ? "equal" : "NOT EQUAL"}, ${counted(verified.rows, "row")}, ${counted(verified.nodes, "node")}${verified.complete ? "" : ", not all voters answered"}`;
  const lines = [
    `pending ${counted(pending.changes, "change")}${age}`,
    `conflicts ${conflicts.open} open of ${conflicts.total}${orphans}`,
    compared,
    `tables ${tables.replicated.length} replicate${tables.skipped.length > 0 ? `, ${tables.skipped.length} do not` : ""}`,
  ];
  for (const { name, reason } of tables.skipped.slice(0, MAX_SKIPPED))
    lines.push(`skipped ${name}: ${reason}`);
  const more = tables.skipped.length - MAX_SKIPPED;
  if (more > 0) lines.push(`skipped: and ${more} more (marmot status --json names them)`);
  return lines;
}

function todo({ verdict, node }: NodeStatus, { wide, locator, paint }: StatusTextOptions): string[] {
  if (verdict.findings.length === 0) return ["nothing to do"];
  const own = `--db ${shellWord(node.file)}`;
  const line = ({ text, advice, command }: Finding): string => {
    const mark = /^[a-z]/.test(advice) ? ";" : ".";
    const said = `- ${advice === "" ? text : `${text}${mark} ${advice}`}`;
    const shown = wide ? said : wrap(said);
    return command === "" ? shown : `${shown}:\n    ${paint("bold", command.replace(own, locator))}`;
  };
  return ["to do:", ...verdict.findings.map(line)];
}

/** The way to name the node in a command. */
export const locatorOf = (db: string | null, dataDir: string | null): string =>
  [
    ...(db === null ? [] : [`--db ${shellWord(db)}`]),
    ...(dataDir === null ? [] : [`--data-dir ${shellWord(dataDir)}`]),
  ].join(" ");
