/**
 * Runs `marmot demo --once` of the built binary, and writes its output into README.md and, as a moving picture with the times
 * of the run, into docs/demo.svg.
 *
 *   bun scripts/record-demo.ts
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseScriptArgs } from "./lib/usage.ts";
import { type TimedLine, terminalPicture } from "./lib/terminal-picture.ts";

parseScriptArgs(import.meta.path, {});
const ROOT = join(import.meta.dir, "..");
const README = join(ROOT, "README.md");
const COMMAND = ["demo", "--once"];

const start = performance.now();
const demo = Bun.spawn([join(ROOT, "dist/marmot"), ...COMMAND], { stdout: "pipe", stderr: "inherit" });
const lines: TimedLine[] = [];
let rest = "";
for await (const chunk of demo.stdout) {
  const parts = (rest + new TextDecoder().decode(chunk)).split("\n");
  rest = parts.pop()!;
  for (const text of parts) lines.push({ text, seconds: (performance.now() - start) / 1000 });
}
if ((await demo.exited) !== 0) throw new Error(`the demo ended with ${demo.exitCode}`);

const text = lines.map((line) => line.text).join("\n");
const before = readFileSync(README, "utf8");
const after = before.replace(/```text\nthree nodes[^`]*```/, () => `\`\`\`text\n${text}\n\`\`\``);
if (!after.includes(text)) throw new Error("README.md has no block that begins with the demo's first line");
writeFileSync(README, after);
writeFileSync(join(ROOT, "docs/demo.svg"), terminalPicture(`marmot ${COMMAND.join(" ")}`, lines));
console.log(text);
