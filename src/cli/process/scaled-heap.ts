/** Scales the heap of `marmot run`, by a replacement of the process. */

export const isCompiled =
  !Bun.main.endsWith(".ts") || Bun.main.startsWith("/$bunfs") || Bun.main.includes("~BUN");

/**
 * The size of the machine's memory that JavaScriptCore is told, in bytes. It lets the heap grow in proportion to that
 * size before it collects. With the real size of a large machine, a node under load would hold hundreds of megabytes of
 * garbage. This is no limit: a larger heap is possible and is collected more often.
 */
const HEAP_SCALE = "260000000";
const HEAP_SCALE_VARIABLE = "BUN_JSC_forceRAMSize";

/** JavaScriptCore reads its options only when it starts, so `marmot run` replaces its process once with itself. */
function scaleHeap(): void {
  const args = process.argv.slice(2);
  if (args[0] !== "run" || process.env[HEAP_SCALE_VARIABLE] !== undefined) return;
  if (process.platform === "win32" || process.execve === undefined) return;
  // A profiler stops threads at any moment: a process that is replaced at that moment never starts.
  const flags = `${process.execArgv.join(" ")} ${process.env.BUN_OPTIONS ?? ""}`;
  if (flags.includes("--cpu-prof")) return;
  const itself = isCompiled ? [process.argv0] : [process.argv0, Bun.main];
  try {
    process.execve(process.execPath, [...itself, ...args], {
      ...process.env,
      [HEAP_SCALE_VARIABLE]: HEAP_SCALE,
    });
  } catch {
    // The file of the program is being replaced: this process goes on, with a larger heap.
  }
}

scaleHeap();
