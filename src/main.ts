/** The process: arguments, environment, signals, exit code. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { main } from "./cli/main.ts";

let signals = 0;
const interrupted = new Promise<void>((resolve) => {
  const onSignal = (): void => {
    if (++signals > 1) process.exit(1);
    resolve();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
});

const compiled = !Bun.main.endsWith(".ts") || Bun.main.startsWith("/$bunfs") || Bun.main.includes("~BUN");

const code = await main(process.argv.slice(2), {
  environment: process.env,
  readFile: (path) => readFileSync(path, "utf8"),
  print: (text) => void process.stdout.write(`${text}\n`),
  say: (text) => void process.stderr.write(text.startsWith("\r") ? text : `${text}\n`),
  isTerminal: process.stderr.isTTY === true,
  hostName: hostname(),
  command: compiled ? [process.execPath] : [process.execPath, Bun.main],
  interrupted,
});
process.exit(code);
