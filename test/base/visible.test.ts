/** Texts of others are printed without effect on the terminal, in tables, logs and JSON documents. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createLogger } from "../../src/base/logger.ts";
import { visible, visibleLines } from "../../src/base/visible.ts";
import { table } from "../../src/cli/output/table.ts";
import { decodeControl, decodeHello } from "../../src/replication/messages/control-messages.ts";
import { HELLO } from "../fuzz/samples.ts";

const HOSTILE = "n1\u001b[2J\r\n\u0000\u009b31m\u202eevil\u2066";
const SHOWN = "n1\\u001b[2J\\u000d\\u000a\\u0000\\u009b31m\\u202eevil\\u2066";
const plain = (text: string): boolean => !/[\p{Cc}\u202e\u2066]/u.test(text);

test("control characters and marks of direction are escaped, other letters are not", () => {
  expect(visible(HOSTILE)).toBe(SHOWN);
  expect(visible("Zürich 北京 👨‍👩‍👧 ñ")).toBe("Zürich 北京 👨‍👩‍👧 ñ");
  expect(visibleLines("a\tb\nc\r")).toBe("a\tb\nc\\u000d");
});

test("a table and a line of the log keep to their lines", () => {
  expect(table(["NODE"], [[HOSTILE]]).split("\n")).toEqual(["NODE", SHOWN]);
  const lines: string[] = [];
  for (const format of ["text", "json"] as const) {
    const logger = createLogger({
      level: "info",
      format,
      write: (line) => lines.push(line),
      wallTime: () => 0,
    });
    logger
      .child("members")
      .warn(`${HOSTILE} joined`, { peer: HOSTILE, error: new Error(HOSTILE), list: [HOSTILE] });
  }
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(plain(line) && !line.includes("\n")).toBeTrue();
  expect((JSON.parse(lines[1]!) as { peer: string }).peer).toBe(HOSTILE);
});

test("names of peers are escaped when their messages are read", () => {
  const hello = decodeHello(
    new TextEncoder().encode(JSON.stringify({ ...HELLO, name: HOSTILE, version: HOSTILE })),
  );
  expect(hello).toMatchObject({ name: SHOWN, version: SHOWN });
  const join = { kind: "join", name: HOSTILE, role: "voter" };
  expect(decodeControl(new TextEncoder().encode(JSON.stringify(join)))).toMatchObject({ name: SHOWN });
});

test("the page escapes the same characters", () => {
  const source = readFileSync(join(import.meta.dir, "../../src/admin/page/parts.js"), "utf8");
  const hidden = new RegExp(/const HIDDEN = \/(\[.*\])\/gu;/.exec(source)![1]!, "u");
  for (let code = 0; code < 0x3000; code++) {
    const character = String.fromCharCode(code);
    expect(`${code} ${hidden.test(character)}`).toBe(`${code} ${visible(character) !== character}`);
  }
});
