/** Waiting until the file at the path can be taken, while nothing of this process is open on it or on the replica. */
import { existsSync, statSync } from "node:fs";
import { isOpenElsewhere } from "../../app-db/exclusive.ts";
import { type Clock, nextTurn, sleep } from "../../base/clock.ts";
import { isDamage, UserError } from "../../base/errors.ts";
import type { Halt } from "../../base/halt.ts";
import { type FileChange, FileChangedError, removedPart } from "../../rows/file-life.ts";
import { takeFile } from "./file-custody.ts";
import { type InspectedFile, missingHalt } from "./inspect-file.ts";

const LOOK_MS = 250;
/** A halted file that the application goes on writing is inspected again after this time. */
const INSPECT_AGAIN_MS = 5000;

/** The failure may come from the app database: it was changed from outside, is damaged, or lost Marmot's tables. */
export const isFileTrouble = (error: unknown): boolean =>
  error instanceof FileChangedError ||
  isDamage(error) ||
  (error instanceof Error && /no such table: (?:main\.)?__marmot__/.test(error.message));

/**
 * The halt after a change under which nothing may be closed or opened in this process: SQLite would write the WAL that it has
 * open over a file that others write by now. null: the file can be closed.
 */
export function overwrittenHalt(file: string, change: FileChange | null): Halt | null {
  const hint = `stop the applications that use the file, then stop this node and start it with marmot run; it inspects the file`;
  if (change === "truncated")
    return { name: "damaged", reason: `${file} was truncated or overwritten while it was in use`, hint };
  const removed = removedPart(change);
  const isMadeAgain = (statSync(`${file}${removed ?? ""}`, { throwIfNoEntry: false })?.size ?? 0) > 0;
  if (removed === null || !isMadeAgain) return null;
  const reason = `${file}${removed} was removed and made again while the file was in use: processes see different contents`;
  return { name: "file-replaced", reason, hint };
}

export interface FileWait {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The file cannot be taken now. */
  readonly report: (halt: Halt) => void;
  /** A command builds the file again: it must not be looked at. */
  readonly isBusy: () => boolean;
}

/** Identifies the file at the path, and its content well enough to see a write. */
function signatureOf(file: string): { readonly file: string; readonly content: string } {
  const [main, wal] = ["", "-wal"].map((suffix) => statSync(file + suffix, { throwIfNoEntry: false }));
  return {
    file: `${main?.dev}/${main?.ino}`,
    content: [main, wal].map((stat) => `${stat?.size}/${stat?.mtimeMs}`).join(" "),
  };
}

/** Returns a sentence about the file for the log; "": it is taken as it is. Throws after an abort. */
export async function untilFileTaken(
  file: Omit<InspectedFile, "pause">,
  change: FileChange | null,
  wait: FileWait,
): Promise<string> {
  const { clock, signal, report } = wait;
  const inspected: InspectedFile = { ...file, pause: nextTurn };
  const removed = removedPart(change);
  if (removed !== null) await untilUnused(inspected.file, removed, wait);
  let last = { file: "", content: "", at: Number.NEGATIVE_INFINITY };
  for (let first = true; ; first = false) {
    if (!first) await sleep(clock, LOOK_MS);
    signal.throwIfAborted();
    if (wait.isBusy()) continue;
    if (!existsSync(inspected.file)) {
      report(missingHalt(inspected));
      last = { ...last, file: "" };
      continue;
    }
    const now = signatureOf(inspected.file);
    const isNew = now.file !== last.file;
    const isWritten = now.content !== last.content && clock.now() - last.at >= INSPECT_AGAIN_MS;
    if (!isNew && !isWritten) continue;
    const custody = await takeOrReport(inspected, wait);
    if (custody === "again") continue;
    if (custody !== null) return custody.done;
    last = { ...signatureOf(inspected.file), at: clock.now() };
  }
}

/** null: the file cannot be taken as it is now. */
async function takeOrReport(
  inspected: InspectedFile,
  { signal, report }: FileWait,
): Promise<{ done: string } | "again" | null> {
  try {
    const custody = await takeFile(inspected);
    signal.throwIfAborted();
    if (custody.halt === null) return { done: custody.done };
    report(custody.halt);
    if (custody.isBusy) return "again";
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    report({ name: "file-replaced", reason: error.message, hint: error.hint });
  }
  return null;
}

/** An application that has the removed WAL or its index open goes on in it, and no other process sees its commits. */
async function untilUnused(
  file: string,
  removed: string,
  { clock, signal, report }: FileWait,
): Promise<void> {
  while (existsSync(file) && isOpenElsewhere(file)) {
    report({
      name: "file-replaced",
      reason: `${file}${removed} was removed while applications had the file open`,
      hint: "stop the applications that use the file; this node goes on as soon as none has it open",
    });
    await sleep(clock, INSPECT_AGAIN_MS / 5);
    signal.throwIfAborted();
  }
}
