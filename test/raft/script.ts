/**
 * Scripts with a recorded output. A line that starts with "> " is a command. The indented lines below it are its
 * output when
 * the script was recorded, and the output must be the same again. Lines that start with "#" are for the reader: the
 * first
 * ones name the rule that the script shows. `RECORD=1 bun test test/raft/…` records again; read the difference before
 * you
 * keep it.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { MemberId } from "../../src/raft/model/types.ts";

const FOLDER = join(import.meta.dir, "testdata");
const RECORD = process.env["RECORD"] === "1";

/** `name arg arg key=value`; an argument in double quotes may contain spaces. */
export class Command {
  readonly name: string;
  readonly args: readonly string[];
  readonly #options = new Map<string, string>();

  constructor(line: string) {
    const words = [...line.matchAll(/([\w-]+=)?("[^"]*"|\S+)/g)].map(([, key = "", value = ""]) => {
      const plain = value.startsWith('"') ? value.slice(1, -1) : value;
      return { key: key.slice(0, -1), value: plain };
    });
    for (const { key, value } of words) if (key !== "") this.#options.set(key, value);
    const [name = "", ...args] = words.filter(({ key }) => key === "").map(({ value }) => value);
    this.name = name;
    this.args = args;
  }

  has(flag: string): boolean {
    return this.args.includes(flag);
  }

  option(key: string): string | undefined {
    return this.#options.get(key);
  }

  number(key: string, otherwise: number): number {
    const value = this.#options.get(key);
    return value === undefined ? otherwise : asNumber(value);
  }

  /** A list like `1,2,3`. */
  numbers(key: string): number[] {
    const value = this.#options.get(key) ?? "";
    return value === "" ? [] : value.split(",").map(asNumber);
  }

  /** The arguments that are numbers. */
  get ids(): MemberId[] {
    return this.args.filter((arg) => /^\d+$/.test(arg)).map(Number);
  }

  get id(): MemberId {
    return asNumber(this.args[0] ?? "");
  }
}

function asNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`expected a number, got "${text}"`);
  return Number(text);
}

/** The script with its commands' current output. */
export function play(source: string, execute: (command: Command) => readonly string[]): string {
  const lines: string[] = [];
  for (const line of source.split("\n")) {
    if (line.startsWith("  ")) continue;
    lines.push(line);
    if (line === "" || line.startsWith("#")) continue;
    if (!line.startsWith("> ")) throw new Error(`expected "> command", "# remark" or "", got "${line}"`);
    for (const said of execute(new Command(line.slice(2)))) lines.push(`  ${said}`);
  }
  return lines.join("\n");
}

/** One test for each script of a folder of testdata/; gives their names. */
export function playAll(
  folder: string,
  start: () => (command: Command) => readonly string[],
): readonly string[] {
  const files = [...new Bun.Glob("*.txt").scanSync({ cwd: join(FOLDER, folder) })].sort();
  for (const file of files) {
    const path = join(FOLDER, folder, file);
    test(basename(file, ".txt"), () => {
      const source = readFileSync(path, "utf8");
      expect(source).toStartWith("#");
      const now = play(source, start());
      if (RECORD) writeFileSync(path, now);
      else expect(now).toBe(source);
    });
  }
  return files.map((file) => basename(file, ".txt"));
}
