/** Time, chance, timers, the process and the console: which files may use what the runtime has for everyone. */
import { expect, test } from "bun:test";
import { codeOf } from "../../scripts/lib/pieces.ts";
import { codeOfFile, files, roomOf } from "./source.ts";

/** Rooms that compute and do nothing else. */
const PURE = ["raft", "routing", "change"];
const AMBIENT =
  /(?<![.\w$])(?:Date|performance|process|console|globalThis|crypto|fetch|queueMicrotask|set(?:Timeout|Interval|Immediate)|Math\s*\.\s*random|new\s+Promise|async|await|Bun(?!\s*\.\s*hash\b))(?![\w$])/;

/** The edge: arguments, environment, exit codes, console. */
const EDGE = ["cli", "main"];
const PROCESS =
  /(?<![.\w$])(?:console\s*\.|process\s*\.\s*(?:argv|env|exit|exitCode|stdin|stdout|stderr|on)\b|Bun\s*\.\s*(?:argv|env|stdin|stdout|stderr)\b)/;

/** Where `Clock` is made from the timers of the runtime. All other files receive a clock. */
const CLOCK = "base/clock.ts";
const TIMER = /(?<![.\w$])(?:set(?:Timeout|Interval|Immediate)(?![\w$])|performance\s*\.\s*now\b)/;

const usesAmbient = (text: string): boolean => AMBIENT.test(codeOf(text));
const usesProcess = (text: string): boolean => PROCESS.test(codeOf(text));
const usesTimer = (text: string): boolean => TIMER.test(codeOf(text));

test("the pure rooms use no ambient time, chance, timers, promises, console or process", () => {
  const wrong = files.filter((file) => PURE.includes(roomOf(file)) && AMBIENT.test(codeOfFile(file)));
  expect(wrong).toEqual([]);
});

test("only the command reads arguments and the environment, sets exit codes and uses the console", () => {
  const wrong = files.filter((file) => !EDGE.includes(roomOf(file)) && PROCESS.test(codeOfFile(file)));
  expect(wrong).toEqual([]);
});

test("a verb prints through its context, not through the console", () => {
  expect(files.filter((file) => file !== "main.ts" && /\bconsole\./.test(codeOfFile(file)))).toEqual([]);
});

test("only the file that makes a Clock uses timers and the monotonic time of the runtime", () => {
  expect(TIMER.test(codeOfFile(CLOCK))).toBe(true);
  expect(files.filter((file) => file !== CLOCK && TIMER.test(codeOfFile(file)))).toEqual([]);
});

test("an ambient name is found in code and in templates, not in comments, strings and members", () => {
  for (const text of [
    "const t = Date.now();",
    "const r = Math.random();",
    "const { now } = performance;",
    "setTimeout(f, 1);",
    "globalThis.setTimeout(f, 1);",
    "process.env.X;",
    "const p = `${Math.random()}`;",
    "Bun.sleepSync(1);",
    "async function f() {}",
  ])
    expect([text, usesAmbient(text)]).toEqual([text, true]);
  for (const text of [
    "// a Date, as setTimeout has it",
    'const s = "process.env";',
    "entry.process(1);",
    "Bun.hash.xxHash32(x);",
    "const setTimeouts = 1;",
    "const url = 'http://x'; /* performance */",
  ])
    expect([text, usesAmbient(text)]).toEqual([text, false]);
});

test("a use of the process is found, a question about the platform is permitted", () => {
  expect(usesProcess("process.stdout.write(x)")).toBe(true);
  expect(usesProcess('if (process.platform === "win32") x();')).toBe(false);
});

test("an ambient timer is found, a method of a clock is permitted", () => {
  for (const text of [
    "await new Promise((resolve) => setImmediate(resolve));",
    "setTimeout(f, 5);",
    "setInterval(f, 5);",
    "const start = performance.now();",
  ])
    expect([text, usesTimer(text)]).toEqual([text, true]);
  for (const text of ["clock.setTimeout(f, 5);", "const start = clock.now();", "// setTimeout(f)"])
    expect([text, usesTimer(text)]).toEqual([text, false]);
});
