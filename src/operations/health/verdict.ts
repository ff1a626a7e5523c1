/**
 * The verdict of a node on itself and its cluster: one line, and the things to look at, each with a command that helps. The
 * verbs, the API and the page show the same. Pure.
 */
import { basename } from "node:path";
import { counted, shellWord, showCount, showSpan } from "../../base/text/spans.ts";
import { describeProgress } from "../../replication/machine/work-progress.ts";
import type { Finding, Level, MemberStatus, NodeStatus, HealthVerdict } from "../api.ts";

export type StatusFacts = Omit<NodeStatus, "verdict">;

/** A member that is not connected for this long is named. */
const SILENT_MS = 3000;
/** Changes that wait for longer are named. */
const PENDING_MS = 30_000;
/** Entries and time that a member may be behind. */
const BEHIND_ENTRIES = 1000;
const BEHIND_MS = 30_000;

const RANK: Readonly<Record<Level, number>> = { ok: 0, warn: 1, bad: 2 };

export function verdictOf(facts: StatusFacts): HealthVerdict {
  const findings = [
    ...unready(facts),
    ...quorumFindings(facts),
    ...memberFindings(facts),
    ...releaseFindings(facts),
    ...dataFindings(facts),
  ].sort((a, b) => RANK[b.level] - RANK[a.level]);
  const level = findings.reduce<Level>((worst, f) => (RANK[f.level] > RANK[worst] ? f.level : worst), "ok");
  return { level, text: sentence(facts), findings };
}

function sentence({ node, quorum, pending, conflicts, cluster }: StatusFacts): string {
  const parts = [node.ready ? "ready" : `not ready: ${reasonOf(node.waitingFor).text.split("; ")[0]}`];
  if (cluster.id !== "" && quorum.voters > 0) {
    parts.push(`${quorum.inTouch} of ${quorum.voters} voters in touch`);
    parts.push(quorum.mayLose < 0 ? "no majority" : `may lose ${quorum.mayLose}`);
  }
  const age = pending.changes > 0 && pending.oldestMs >= 1000 ? ` for ${showSpan(pending.oldestMs)}` : "";
  parts.push(`pending ${pending.changes}${age}`);
  if (conflicts.open > 0) parts.push(`${counted(conflicts.open, "conflict")} open (marmot conflicts)`);
  return `${basename(node.file)} on ${node.name}: ${parts.join(" · ")}`;
}

/** The reason of a halt carries its hint. */
function reasonOf(waitingFor: string): { readonly text: string; readonly hint: string } {
  const at = waitingFor.indexOf("; hint: ");
  return at === -1
    ? { text: waitingFor || "starting", hint: "" }
    : { text: waitingFor.slice(0, at), hint: waitingFor.slice(at + "; hint: ".length) };
}

const finding = (level: Level, text: string, advice = "", command = ""): Finding => ({
  ...{ level, text, advice, command },
});

/** With the file of the node, as a shell takes it. */
const commandFor = ({ node }: StatusFacts, words: string): string =>
  `marmot ${words} --db ${shellWord(node.file)}`;

const isHalted = ({ node }: StatusFacts): boolean => !["ready", "waiting"].includes(node.state);

function unready(facts: StatusFacts): Finding[] {
  const { node, progress } = facts;
  if (node.ready) return [];
  const { text, hint } = reasonOf(node.waitingFor);
  if (isHalted(facts)) return [finding("bad", `This node is halted: ${text}`, hint)];
  if (progress !== null)
    return [
      finding(
        "warn",
        `This node is not ready: ${progress.work}, ${describeProgress(progress)}`,
        "It becomes ready by itself",
        commandFor(facts, "status --wait-ready 10m"),
      ),
    ];
  return [finding("warn", `This node is not ready: ${text}`, hint)];
}

const silent = ({ members }: StatusFacts): readonly MemberStatus[] => members.filter((m) => !m.connected);

const sinceOf = ({ lastSeenMs }: MemberStatus): string =>
  lastSeenMs === null ? "since this node started" : `for ${showSpan(lastSeenMs)}`;

const removal = (facts: StatusFacts, { name }: MemberStatus): string =>
  commandFor(facts, `members remove ${shellWord(name)}`);

/** Then it is not dead. */
const isReachedByOthers = ({ unreached, node }: StatusFacts, { name }: MemberStatus): boolean =>
  unreached.some(
    ({ from, to }) => (from === node.name && to === name) || (to === node.name && from === name),
  );

function quorumFindings(facts: StatusFacts): Finding[] {
  const { quorum, cluster, node } = facts;
  if (cluster.id === "" || quorum.voters === 0 || isHalted(facts)) return [];
  const { voters, inTouch, mayLose } = quorum;
  const lost = silent(facts).filter((m) => m.role === "voter");
  const names = lost.map((m) => m.name).join(", ");
  if (mayLose < 0)
    return [
      finding(
        "bad",
        `${inTouch} of ${voters} voters are in touch: no majority`,
        `Writes stay in this file until a majority is back. Start ${names} again, or check the network to them`,
      ),
    ];
  if (lost.length > 0)
    return lost.map((m) =>
      finding(
        "warn",
        mayLose === 0
          ? `${inTouch} of ${voters} voters are in touch: no further machine may fail`
          : `${m.name} is silent; ${counted(mayLose, "further machine")} may fail`,
        ...(isReachedByOthers(facts, m)
          ? ([`${m.name} runs, and this node does not reach it`] as const)
          : ([
              `${m.name} has not answered ${sinceOf(m)}. Writes go on. marmot status on its machine says why; if that is gone for good`,
              removal(facts, m),
            ] as const)),
      ),
    );
  if (voters === 2)
    return [
      finding(
        "warn",
        "The cluster has two voters: neither may fail",
        "Add a third node: marmot run on another machine with --peers",
      ),
    ];
  const leaderless = facts.shards.filter((s) => s.leader === "").map((s) => s.shard);
  if (leaderless.length > 0 && node.ready)
    return [
      finding(
        "warn",
        `Shard ${leaderless.join(", ")} has no leader`,
        "An election takes one or two seconds",
        commandFor(facts, "status --watch"),
      ),
    ];
  return [];
}

function memberFindings(facts: StatusFacts): Finding[] {
  const found: Finding[] = [];
  for (const m of silent(facts).filter((one) => one.role === "learner"))
    if (m.lastSeenMs === null || m.lastSeenMs > SILENT_MS)
      found.push(
        finding("warn", `The learner ${m.name} has not answered ${sinceOf(m)}`, "", removal(facts, m)),
      );
  for (const m of facts.members) {
    if (m.checksumAgrees === false)
      found.push(
        finding(
          "bad",
          `The replica of ${m.name} differs from this one`,
          "Name the rows that differ",
          commandFor(facts, "verify --deep"),
        ),
      );
    const entries = m.lagEntries ?? 0;
    if (m.connected && entries > BEHIND_ENTRIES && (m.lagMs ?? 0) > BEHIND_MS)
      found.push(
        finding(
          "warn",
          `${m.name} is ${showCount(entries)} entries behind`,
          "It catches up by itself; look at its disk if the number rises",
        ),
      );
  }
  for (const { from, to, reason } of facts.unreached)
    found.push(finding("warn", `${from} and ${to} do not reach each other`, reason));
  return found;
}

/** Refusals that are named one by one. */
const MAX_REFUSALS = 5;

/** Nodes that refuse each other, and releases that wait for an update. */
function releaseFindings({ refusals, formats }: StatusFacts): Finding[] {
  const refused = refusals.slice(-MAX_REFUSALS).map(({ peerId, name, by, reason }) => {
    const peer = name || peerId;
    return finding(
      "warn",
      by === "peer" ? `${peer} refuses this node: ${reason}` : `This node refuses ${peer}: ${reason}`,
    );
  });
  const older = [...new Set(formats.flatMap(({ heldBackBy }) => heldBackBy))].join(", ");
  if (older === "") return refused;
  return [
    ...refused,
    finding(
      "ok",
      `Older formats are written, since these members do not read the newest: ${older}`,
      "Update Marmot there, or remove members that are gone",
    ),
  ];
}

function dataFindings(facts: StatusFacts): Finding[] {
  const { pending, tables, sqlite, verified, conflicts, quorum, cluster, backups, feed, archive } = facts;
  const found: Finding[] = [];
  if (pending.oldestMs > PENDING_MS && quorum.mayLose >= 0)
    found.push(
      finding(
        "warn",
        `${counted(pending.changes, "change")} of this node wait for ${showSpan(pending.oldestMs)}`,
        "Wait until they are ordered",
        commandFor(facts, "wait --timeout 5m"),
      ),
    );
  for (const { name, reason } of tables.held)
    found.push(finding("warn", `The table ${name} is held back`, reason));
  if (sqlite.warning !== "") {
    const [text = "", hint = ""] = sqlite.warning.replace(/\)$/, "").split(" (hint: ");
    found.push(finding("warn", text.charAt(0).toUpperCase() + text.slice(1), hint));
  }
  if (feed !== null && feed.error !== "")
    found.push(finding("warn", `The change feed does not reach ${feed.to}`, feed.error));
  if (backups !== null && backups.error !== "")
    found.push(finding("warn", `The last backup to ${backups.to} failed`, backups.error));
  if (archive !== null && archive.state === "paused")
    found.push(finding("warn", `The archive ${archive.to} is paused`, archive.error));
  if (archive !== null && archive.drill?.ok === false)
    found.push(finding("bad", `The archive ${archive.to} could not be restored`, archive.drill.error));
  if (verified !== null && !verified.equal)
    found.push(
      finding("bad", "The last verify found differences", "Name them", commandFor(facts, "verify --deep")),
    );
  if (conflicts.open > 0)
    found.push(
      finding(
        "ok",
        `${counted(conflicts.open, "conflict")} to look at`,
        "Rows that lost to a concurrent write are kept",
        commandFor(facts, "conflicts list"),
      ),
    );
  if (conflicts.orphans > 0)
    found.push(
      finding(
        "warn",
        `${counted(conflicts.orphans, "reference")} of concurrent writes dangle`,
        "Their rows are in the journal",
        commandFor(facts, "conflicts list"),
      ),
    );
  if (cluster.id !== "" && quorum.voters === 1)
    found.push(
      finding(
        "ok",
        "This node is the only voter: its loss is the loss of the cluster",
        "Add two nodes: marmot run on other machines with --peers",
      ),
    );
  return found;
}
