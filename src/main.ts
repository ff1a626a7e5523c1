/** The process: arguments, environment, signals, exit code. What it does is in cli/. */
import { readFileSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { main } from "./cli/main.ts";

const STDOUT = 1;
/** While the reader of standard output is slow. */
const RETRY_MS = 2;

/** Whole, before it returns: the process may end right after it, and a pipe takes 64 KB at a time. */
function print(text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(STDOUT, bytes, at);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "EPIPE") process.exit(1); // nobody reads on
      if (code !== "EAGAIN") throw error;
      Bun.sleepSync(RETRY_MS);
    }
  }
}

// Who closed standard error does not want messages; that is no reason to stop a node.
process.stderr.on("error", () => {});

let interrupted: Promise<void> | null = null;
function onInterrupt(): Promise<void> {
  interrupted ??= new Promise((resolve) => {
    let signals = 0;
    const onSignal = (): void => {
      if (++signals > 1) process.exit(1);
      resolve();
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
  });
  return interrupted;
}

const compiled = !Bun.main.endsWith(".ts") || Bun.main.startsWith("/$bunfs") || Bun.main.includes("~BUN");

/**
 * As much memory as JavaScriptCore is told that the machine has, bytes. It lets a heap grow in proportion to that before
 * it collects, so a node under load would hold hundreds of megabytes of garbage on a large machine. No limit: what is
 * needed beyond it is had, with collections at smaller growth.
 */
const HEAP_SCALE = "150000000";
const HEAP_SCALE_VARIABLE = "BUN_JSC_forceRAMSize";

/** The engine reads its options only at its start, so a node begins as this process does and replaces itself once. */
function scaleHeap(): void {
  const args = process.argv.slice(2);
  if (args[0] !== "run" || process.env[HEAP_SCALE_VARIABLE] !== undefined) return;
  if (process.platform === "win32" || process.execve === undefined) return;
  const itself = compiled ? [process.argv0] : [process.argv0, Bun.main];
  try {
    process.execve(process.execPath, [...itself, ...args], {
      ...process.env,
      [HEAP_SCALE_VARIABLE]: HEAP_SCALE,
    });
  } catch {
    // The program's file was replaced this very moment: it runs as it is, with a larger heap.
  }
}

scaleHeap();
const code = await main(process.argv.slice(2), {
  environment: process.env,
  readFile: (path) => readFileSync(path, "utf8"),
  print,
  say: (text) => void process.stderr.write(`${text}\n`),
  draw: (text) => void process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true,
  columns: () => process.stderr.columns || 80,
  hostName: hostname(),
  command: compiled ? [process.execPath] : [process.execPath, Bun.main],
  interrupted: onInterrupt,
  atExit: (run) => void process.on("exit", run),
});
process.exit(code);
