/** Progress of long work while a node starts or catches up. */
export interface ProgressStatus {
  /** "import", "snapshot", … */
  readonly work: string;
  readonly done: number;
  /** 0: unknown. */
  readonly total: number;
  readonly unit: "rows" | "bytes" | "entries";
  /** Estimated milliseconds left; null: unknown. */
  readonly remainingMs: number | null;
  /** Units in a second; absent or null: unknown. */
  readonly perSecond?: number | null;
}

/** Called with each progress of long work; null: the work is done. */
export type OnProgress = (progress: ProgressStatus | null) => void;

/** Milliseconds left, if the rest goes as fast as the part that is `done` in `spentMs`; null: unknown. */
export const remainingMs = (spentMs: number, done: number, total: number): number | null =>
  done > 0 ? (spentMs / done) * (total - done) : null;

const size = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;

const duration = (ms: number): string => {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
};

/** `80.0 MB of 160.0 MB (50 %), 40.0 MB/s, 2 s left` */
export function describeProgress({
  done,
  total,
  unit,
  remainingMs: left,
  perSecond = null,
}: ProgressStatus): string {
  const show = (n: number): string => (unit === "bytes" ? size(n) : n.toLocaleString("en"));
  const percent = Math.min(100, Math.floor((done / total) * 100));
  const of = total > 0 ? ` of ${show(total)}` : "";
  const part = total > 0 ? ` (${percent} %)` : "";
  const rate = perSecond === null ? "" : `, ${show(Math.round(perSecond))}/s`;
  return `${show(done)}${of}${unit === "bytes" ? "" : ` ${unit}`}${part}${rate}${left === null ? "" : `, ${duration(left)} left`}`;
}
