/** The process: arguments, environment, signals, exit code. The command itself is in `cli/main.ts`. */
import { isCompiled } from "./scaled-heap.ts";
import { readFileSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { main } from "../main.ts";

const STDOUT = 1;
const CLEAR = "\u001b[H\u001b[2J";
/** Pause while the reader of standard output is slow. */
const RETRY_MS = 2;

/** Writes all of `text` before it returns: the process may end right afterwards, and a pipe takes 64 KB at a time. */
function print(text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(STDOUT, bytes, at);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "EPIPE") process.exit(1); // the reader has closed the pipe
      if (code !== "EAGAIN") throw error;
      Bun.sleepSync(RETRY_MS);
    }
  }
}

// A closed standard error must not stop a node.
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

const code = await main(process.argv.slice(2), {
  environment: process.env,
  readFile: (path) => readFileSync(path, "utf8"),
  print,
  ...(process.stderr.isTTY === true ? { clear: () => void writeSync(STDOUT, CLEAR) } : {}),
  say: (text) => void process.stderr.write(`${text}\n`),
  draw: (text) => void process.stderr.write(text),
  ask: (question) => (process.stdin.isTTY ? (globalThis.prompt(question) ?? "").trim().toLowerCase() : null),
  isTerminal: process.stderr.isTTY === true,
  colors: { out: process.stdout.isTTY === true, err: process.stderr.isTTY === true },
  columns: () => process.stderr.columns || 80,
  hostName: hostname(),
  command: isCompiled ? [process.execPath] : [process.execPath, Bun.main],
  interrupted: onInterrupt,
  atExit: (run) => void process.on("exit", run),
});
process.exit(code);
