/** A fake of a node's API: gives the answers that a test sets, and records the calls. */
import { UserError } from "../../src/base/errors.ts";
import type {
  ChangeLine,
  ChangesOptions,
  ChangeStream,
  UndoOptions,
  UndoResult,
} from "../../src/operations/changes-api.ts";
import type {
  ConflictDetail,
  ConflictFilter,
  ConflictSummary,
  DismissResult,
  FileRepair,
  MemberAction,
  Metric,
  NodeApi,
  NodeEvent,
  NodeHistory,
  NodeStatus,
  RestoreAllResult,
  Recovery,
  RestoreResult,
  TableStatus,
  VerifyResult,
  WaitOptions,
  WaitResult,
} from "../../src/operations/api.ts";

export const STATUS: NodeStatus = {
  node: {
    id: 1,
    name: "n1",
    file: "/srv/app.db",
    peerId: "12D3KooWone",
    addresses: ["/ip4/127.0.0.1/tcp/8160"],
    version: "0.1.0",
    ready: true,
    state: "ready",
    waitingFor: "",
    keyFile: "/data/cluster.key",
    uptimeMs: 60_000,
  },
  verdict: { level: "ok", text: "app.db on n1: ready · 2 of 3 voters in touch · may lose 0", findings: [] },
  quorum: { voters: 3, inTouch: 2, mayLose: 0 },
  cluster: {
    id: "c0ffee",
    epoch: 0,
    shards: 2,
    transactions: "row",
    schemaVersion: 3,
    merge: "row",
    foreignKeys: "keep",
    idBlock: "64",
    keyFingerprint: "0123456789abcdef",
  },
  members: [
    {
      peerId: "12D3KooWone",
      name: "n1",
      addresses: ["/ip4/127.0.0.1/tcp/8160"],
      role: "voter",
      connected: true,
      leads: [0],
      lagEntries: 0,
      lagMs: 0,
      lastSeenMs: 0,
      roundTripMs: null,
      checksumAgrees: true,
      version: "0.1.0",
      keys: ["aa"],
    },
    {
      peerId: "12D3KooWtwo",
      name: "n2",
      addresses: [],
      role: "learner",
      connected: false,
      leads: [],
      lagEntries: null,
      lagMs: null,
      lastSeenMs: null,
      roundTripMs: null,
      checksumAgrees: false,
      version: "",
      keys: ["aa"],
    },
  ],
  shards: [
    { shard: 0, role: "leader", leader: "n1", term: 4, commitIndex: 17, appliedIndex: 16, pendingChanges: 5 },
    { shard: 1, role: "follower", leader: "", term: 2, commitIndex: 9, appliedIndex: 9, pendingChanges: 0 },
  ],
  unreached: [],
  refusals: [],
  formats: [],
  pending: { changes: 5, bytes: 1000, oldestMs: 2500 },
  conflicts: { total: 1, open: 1, orphans: 0 },
  verified: null,
  backups: null,
  feed: null,
  archive: null,
  tables: { replicated: ["books"], skipped: [{ name: "search", reason: "it is a virtual table" }], held: [] },
  sqlite: { marmot: "3.54.1", application: null, warning: "" },
  progress: { work: "catch-up", done: 50, total: 200, unit: "entries", remainingMs: 1500 },
};

export const CONFLICT: ConflictDetail = {
  id: "0:12:1",
  shard: 0,
  index: 12,
  table: "books",
  key: "7",
  kind: "concurrent write",
  losingOrigin: "n1",
  winningOrigin: "n2",
  losingPeer: "12D3KooWone",
  winningPeer: "12D3KooWtwo",
  time: 1_700_000_000_000,
  differing: [],
  state: "open",
  settled: null,
  columns: ["id", "title", "cover"],
  losingImage: [
    { type: "integer", text: "7" },
    { type: "text", text: "Emma" },
    { type: "blob", text: "00ff" },
  ],
  winningImage: null,
};

export const RESTORED: RestoreResult = {
  id: "0:12:1",
  table: "books",
  columns: ["id", "title"],
  done: "restored as new",
  key: "64",
  replaced: null,
  children: [
    { table: "pages", key: "3", done: "moved", newKey: "3", reason: "" },
    { table: "pages", key: "4", done: "restored", newKey: "70", reason: "" },
    { table: "pages", key: "5", done: "left", newKey: "", reason: "it is written right now" },
  ],
};

export const UNDONE: UndoResult = {
  dryRun: false,
  transactions: 1,
  tables: [{ table: "books", rows: 1 }],
  rows: [{ table: "books", key: "7", done: "changed back" }],
  left: [{ table: "books", key: "8", reason: "it was changed since" }],
  leftRows: 1,
};

export const COMPARED: VerifyResult = {
  equal: true,
  complete: true,
  positions: [17, 9],
  nodes: ["n1", "n2"],
  missing: [],
  notCompared: [],
  rows: 3,
  published: 0,
  repaired: 0,
  differences: [],
};

export class FakeNode implements NodeApi {
  readonly calls: { readonly name: string; readonly options: unknown }[] = [];
  reason: string | null = null;
  waits: () => Promise<WaitResult> = () => Promise.resolve({ done: true, missing: "", position: "c:17.9" });
  verifies: () => Promise<VerifyResult> = () => Promise.resolve(COMPARED);
  lines: readonly ChangeLine[] = [];
  found: readonly ConflictSummary[] = [CONFLICT];
  shown: NodeStatus = STATUS;

  status(): NodeStatus {
    return this.shown;
  }
  notReady(): string | null {
    return this.reason;
  }
  metrics(): readonly Metric[] {
    return [
      { name: "ready", help: "1 when ready", type: "gauge", samples: [{ value: 1 }] },
      {
        name: "term",
        help: "Raft term",
        type: "gauge",
        samples: [{ labels: { shard: "0", odd: 'a"b\\c\nd' }, value: 4 }],
      },
    ];
  }
  position(): string | null {
    return "c:16.9";
  }
  history(): NodeHistory {
    return { stepMs: 10_000, samples: [], ordered: { p50Ms: 5, p99Ms: 40 }, shown: null };
  }
  tables(): Promise<readonly TableStatus[]> {
    return Promise.resolve([{ name: "books", rows: 3, isEstimate: false }]);
  }
  happened: readonly NodeEvent[] = [];
  events({ limit, after }: { readonly limit: number; readonly after: number }): readonly NodeEvent[] {
    this.calls.push({ name: "events", options: { limit, after } });
    return this.happened;
  }
  wait(options: WaitOptions): Promise<WaitResult> {
    this.calls.push({ name: "wait", options });
    return this.waits();
  }
  verify(options: {
    readonly deep: boolean;
    readonly repair: boolean;
    readonly publish: { readonly table: string | null } | null;
    readonly timeoutMs: number;
  }): Promise<VerifyResult> {
    this.calls.push({ name: "verify", options });
    return this.verifies();
  }
  repair(): Promise<FileRepair> {
    this.calls.push({ name: "repair", options: null });
    return Promise.resolve({ file: "app.db", before: null, rows: [], journalled: 0, unreadable: [] });
  }
  recover(options: { readonly plan: boolean }): Promise<Recovery> {
    this.calls.push({ name: "recover", options });
    const result = { node: "n1", epoch: 1, leaves: ["n2"], stays: [], lastEntries: [17, 9], unconfirmed: 2 };
    return Promise.resolve({ done: !options.plan, ...result });
  }
  changeMember(action: MemberAction, name: string, to?: string): Promise<void> {
    this.calls.push({ name: action, options: { name, ...(to === undefined ? {} : { to }) } });
    return name === "nobody"
      ? Promise.reject(new UserError("there is no member nobody", "the members are n1, n2"))
      : Promise.resolve();
  }
  conflicts(options: { readonly limit: number }): readonly ConflictSummary[] {
    this.calls.push({ name: "conflicts", options });
    return this.found;
  }
  changes(options: ChangesOptions): Promise<ChangeStream> {
    this.calls.push({ name: "changes", options });
    const lines = [...this.lines];
    return Promise.resolve({
      next: () => Promise.resolve(lines.length === 0 ? null : [lines.shift()!]),
      close: () => {},
    });
  }
  undo(options: UndoOptions): Promise<UndoResult> {
    this.calls.push({ name: "undo", options });
    return Promise.resolve({ ...UNDONE, dryRun: options.dryRun });
  }
  dismiss(id: string | ConflictFilter): Promise<DismissResult | null> {
    this.calls.push({ name: "dismiss", options: id });
    return Promise.resolve(
      typeof id === "string" && id !== CONFLICT.id ? null : { dismissed: [CONFLICT.id] },
    );
  }
  restoreAll(options: Parameters<NodeApi["restoreAll"]>[0]): Promise<RestoreAllResult> {
    this.calls.push({ name: "restoreAll", options });
    return Promise.resolve({
      dryRun: options.dryRun,
      restored: [{ id: CONFLICT.id, table: "books", key: "7", done: "restored" }],
      left: [{ id: "0:9:0", table: "books", key: "8", reason: "it was written again" }],
    });
  }
  restore(
    id: string,
    options: { readonly asNew: boolean; readonly overwrite: boolean },
  ): Promise<RestoreResult | null> {
    this.calls.push({ name: "restore", options: { id, ...options } });
    return Promise.resolve(id === CONFLICT.id ? RESTORED : null);
  }
  conflict(id: string): ConflictDetail | null {
    this.calls.push({ name: "conflict", options: id });
    return id === CONFLICT.id ? CONFLICT : null;
  }
}
