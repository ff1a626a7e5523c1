/**
 * Shifts the wall clock of one process while it runs, by a small library before the C library, built with the C
 * compiler of the machine. Without a compiler the fault is left out. A time namespace would shift only monotonic
 * time, not the time that an administrator or NTP sets.
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** The library in `folder`; null: this machine cannot build it. */
export function buildShim(folder: string): string | null {
  if (process.platform !== "linux") return null;
  mkdirSync(folder, { recursive: true });
  const library = join(folder, "clock.so");
  try {
    const source = join(import.meta.dir, "clock.c");
    const built = Bun.spawnSync(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], {
      stderr: "ignore",
    });
    return built.exitCode === 0 ? library : null;
  } catch {
    return null; // no C compiler
  }
}

export class ShiftedClock {
  readonly environment: Record<string, string>;
  readonly #file: string;

  constructor(library: string, file: string) {
    this.#file = file;
    this.environment = { LD_PRELOAD: library, FAULT_CLOCK: file };
    writeFileSync(file, new Uint8Array(8));
  }

  /** In place: the process has the file mapped. */
  shift(hours: number): void {
    const bytes = new BigInt64Array([BigInt(Math.round(hours * 3600))]);
    const file = openSync(this.#file, "r+");
    writeSync(file, new Uint8Array(bytes.buffer), 0, 8, 0);
    closeSync(file);
  }
}
