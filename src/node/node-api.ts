/** The API of a running node. Each call reads the state of the node at that time. */
import type { Clock } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { type Halt, haltSentence } from "../base/halt.ts";
import type { BackupStatus, FileRepair, NodeApi, Recovery, VerifyResult } from "../operations/api.ts";
import { openChanges } from "../operations/changes/change-stream.ts";
import type { PastSource } from "../operations/changes/past-source.ts";
import { undo } from "../operations/changes/undo.ts";
import { chosenConflicts } from "../operations/conflict-filter.ts";
import { conflictDetail, conflictId, conflictSummary, findConflict } from "../operations/conflicts.ts";
import { changeMember } from "../operations/members.ts";
import type { EventList } from "../operations/events/event-list.ts";
import type { MeasuredFiles } from "../operations/health/file-metrics.ts";
import type { Measures } from "../replication/measures/measures.ts";
import type { History } from "../operations/health/history.ts";
import { tableRows } from "../operations/health/table-rows.ts";
import { nodeMetrics } from "../operations/health/node-metrics.ts";
import { nodeStatus, type StatusSource } from "../operations/health/node-status.ts";
import { restoreAll } from "../operations/restore/restore-all.ts";
import { restoreConflict } from "../operations/restore/restore.ts";
import { settleConflicts } from "../operations/settle-conflicts.ts";
import { verify } from "../operations/verify/verify.ts";
import { shownPosition, waitForPosition } from "../operations/wait-position.ts";
import { waitFor } from "../operations/wait.ts";
import type { StoredConflict } from "../replica/conflicts/journal.ts";
import type { Refusal } from "../replication/messages/refusals.ts";
import type { PeerId } from "../base/ids.ts";
import type { Replicator } from "../replication/replicator.ts";
import { describeProgress, type ProgressStatus } from "../replication/machine/work-progress.ts";
import { FileChangedError } from "../rows/file-life.ts";
import type { Transport } from "../shard/seams.ts";

/** The longest wait for a majority that orders states of conflicts. */
const SETTLE_MS = 10_000;
const NOTE_RESTORED_MS = 3000;

/** The state of a node at one time. */
export interface NodeState {
  readonly name: string;
  /** Path of the application's file. */
  readonly file: string;
  readonly peerId: PeerId;
  readonly clock: Clock;
  /** Monotonic. */
  readonly startedAt: number;
  /** null: the node has not come so far. */
  readonly transport: Transport | null;
  /** null: the node is joining, or replaces its replica. */
  readonly replicator: Replicator | null;
  /** The current step of a start, as a sentence; "": the node has started. */
  readonly phase: string;
  readonly progress: ProgressStatus | null;
  readonly refusals: readonly Refusal[];
  readonly keys: StatusSource["keys"];
  readonly backups: BackupStatus | null;
  readonly feed: StatusSource["feed"];
  readonly archive: StatusSource["archive"];
  /** null: there is no archive. */
  readonly past: PastSource | null;
  readonly verified: StatusSource["verified"];
  readonly onVerified: (result: VerifyResult) => void;
  readonly events: EventList;
  readonly history: History;
  readonly measures: Measures;
  readonly files: MeasuredFiles;
  /** Why the node does not replicate; null: it does, or is starting. */
  readonly halt: Halt | null;
  /** Begins a new epoch of the cluster, or says the effects. */
  readonly recover: (options: { readonly plan: boolean }) => Promise<Recovery>;
  /** Builds the file again. Rejects with `UserError` unless the node is halted because of it. */
  readonly repair: () => Promise<FileRepair>;
}

/** Without a leader the network is the question. */
function memberReason({ readiness, runtime }: Replicator, transport: Transport | null): string | null {
  const reason = readiness.notReady();
  if (reason === null || transport === null || runtime.groups.every((g) => g.leaderPeer !== ""))
    return reason;
  return [reason, ...transport.problems().map((p) => `${p.address}: ${p.reason}`)].join("; ");
}

function notReadyReason({ phase, replicator, progress, halt, transport }: NodeState): string | null {
  if (halt !== null) return haltSentence(halt);
  const reason = phase !== "" || replicator === null ? phase : memberReason(replicator, transport);
  return reason === null || progress === null ? reason : `${reason}: ${describeProgress(progress)}`;
}

const sourceOf = (state: NodeState): StatusSource => ({
  name: state.name,
  file: state.file,
  startedAt: state.startedAt,
  verified: state.verified,
  backups: state.backups,
  feed: state.feed,
  archive: state.archive,
  peerId: state.peerId,
  replicator: state.replicator,
  transport: state.transport,
  clock: state.clock,
  progress: state.progress,
  keys: state.keys,
  notReady: notReadyReason(state),
  halt: state.halt,
  refusals: state.refusals,
});

/** The rows are written, and stay so; without a quorum the conflicts are listed as open until they are restored again. */
async function noteRestored(state: () => NodeState, conflicts: readonly StoredConflict[]): Promise<void> {
  const components = { replicator: (): Replicator | null => state().replicator, clock: state().clock };
  try {
    await settleConflicts(components, "restored", conflicts, NOTE_RESTORED_MS);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
}

/** An open replicator has a transport. */
function opened(state: NodeState): { replicator: Replicator; transport: Transport } {
  const { replicator, transport } = state;
  if (replicator === null || transport === null) throw notReadyError(state);
  return { replicator, transport };
}

/** A halted node does not become ready by itself. */
function notReadyError(state: NodeState): UserError {
  const { halt } = state;
  return halt === null
    ? new UserError(
        `this node is not ready: ${notReadyReason(state) ?? state.phase}`,
        "wait until marmot status shows that it is ready",
      )
    : new UserError(`this node is halted: ${halt.name}: ${halt.reason}`, halt.hint);
}

export const createNodeApi = (state: () => NodeState): NodeApi => ({
  status: () => nodeStatus(sourceOf(state())),
  notReady: () => notReadyReason(state()),
  metrics: () => nodeMetrics({ ...sourceOf(state()), measures: state().measures, files: state().files }),
  wait: async (options) => {
    const { clock, transport } = state();
    try {
      if (transport === null) throw notReadyError(state());
      const { position } = options;
      const replicator = (): Replicator | null => state().replicator;
      const result = await (position === null
        ? waitFor(replicator, { clock, transport }, options)
        : waitForPosition(replicator, { clock, transport }, { ...options, position }));
      if (result.done || state().replicator !== null) return result;
    } catch (error) {
      if (!(error instanceof FileChangedError)) throw error;
      if (state().replicator !== null)
        return { done: false, missing: `a look at the file: ${error.message}`, position: "" };
    }
    return { done: false, missing: `this node (${notReadyReason(state()) ?? ""})`, position: "" };
  },
  position: () => shownPosition(state().replicator),
  verify: async (options) => {
    const { clock, onVerified } = state();
    const result = await verify({ ...opened(state()), clock }, options);
    onVerified(result);
    return result;
  },
  changeMember: (action, name, to) => {
    const { clock } = state();
    const { transport } = opened(state());
    return changeMember({ replicator: () => state().replicator, transport, clock }, action, name, to);
  },
  recover: (options) => state().recover(options),
  repair: () => state().repair(),
  changes: async (options) => {
    const { replicator, clock, past } = state();
    if (replicator === null) throw notReadyError(state());
    return openChanges(replicator, clock, options, past);
  },
  undo: async (options) => {
    const { replicator, clock, past } = state();
    const reason = notReadyReason(state());
    if (replicator === null || reason !== null) throw notReadyError(state());
    return undo(replicator, clock, options, past);
  },
  history: () => state().history.read(),
  tables: () => tableRows(() => state().replicator),
  events: (options) => state().events.list(options),
  conflicts: ({ limit, ...filter }) => {
    const { replicator, clock } = state();
    if (replicator === null) return [];
    return chosenConflicts(replicator, filter, clock.wallTime())
      .take(limit)
      .map((c) => conflictSummary(replicator, c))
      .toArray();
  },
  dismiss: async (which) => {
    const { replicator, clock } = state();
    if (replicator === null) throw notReadyError(state());
    const found =
      typeof which === "string"
        ? findConflict(replicator, which)
        : [...chosenConflicts(replicator, { ...which, open: true }, clock.wallTime())];
    if (found === null) return null;
    const chosen = Array.isArray(found) ? found : [found];
    const settling = { replicator: () => state().replicator, clock };
    const open = chosen.filter((c) => conflictSummary(replicator, c).state === "open");
    await settleConflicts(settling, "dismissed", open, SETTLE_MS);
    return { dismissed: open.map(conflictId) };
  },
  restoreAll: async (options) => {
    const { replicator, clock } = state();
    const reason = notReadyReason(state());
    if (replicator === null || reason !== null) throw notReadyError(state());
    const { result, restored } = await restoreAll(replicator, clock, options);
    if (!options.dryRun) await noteRestored(state, restored);
    return result;
  },
  conflict: (id) => {
    const { replicator } = state();
    const conflict = replicator === null ? null : findConflict(replicator, id);
    return replicator === null || conflict === null ? null : conflictDetail(replicator, conflict);
  },
  restore: async (id, options) => {
    const { replicator, clock } = state();
    const reason = notReadyReason(state());
    if (replicator === null || reason !== null) throw notReadyError(state());
    const conflict = findConflict(replicator, id);
    if (conflict === null) return null;
    const result = await restoreConflict(replicator, clock, conflict, options);
    await noteRestored(state, [conflict]);
    return result;
  },
});
