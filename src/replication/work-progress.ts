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
}

/** Called with each progress of long work; null: the work is done. */
export type OnProgress = (progress: ProgressStatus | null) => void;

/** Milliseconds left, if the rest goes as fast as the part that is `done` in `spentMs`; null: unknown. */
export const remainingMs = (spentMs: number, done: number, total: number): number | null =>
  done > 0 ? (spentMs / done) * (total - done) : null;
