/** The prose check: which texts it reads, and that it finds each kind of bad text at its place. */
import { describe, expect, test } from "bun:test";
import { commentsOf, paragraphsOf, stringsOf } from "../../scripts/lib/passages.ts";
import { type Group, offencesIn, sentencesOf } from "../../scripts/lib/prose-rules.ts";

const textOf = (text: string): Group => ({ name: "a text", passages: [{ file: "a.md", line: 1, text }] });
const messagesOf = (text: string): string[] =>
  offencesIn(textOf(text)).map(({ line, message }) => `${line}: ${message}`);

describe("the texts that are read", () => {
  test("a block comment without its marks, line for line", () => {
    const source = `const a = 1;\n/**\n * One.\n * Two.\n */\nconst b = "/* no comment */";\n`;
    expect(commentsOf("a.ts", source)).toEqual([{ file: "a.ts", line: 2, text: "\nOne.\nTwo." }]);
  });

  test("line comments on lines that follow each other are one passage, others are not", () => {
    const source =
      "// One\n  // goes on.\nf(); // Two.\n\n// Three.\n// oxlint-disable-next-line no-console\n";
    expect(commentsOf("a.ts", source).map(({ line, text }) => [line, text])).toEqual([
      [1, "One\ngoes on."],
      [3, "Two."],
      [5, "Three."],
    ]);
  });

  test("a code span and a file name count as one word each and cannot offend", () => {
    const source = "// The table `orphan of nobody` of src/orphan.ts is empty.";
    expect(commentsOf("a.ts", source)[0]!.text).toBe("The table CODE of CODE is empty.");
  });

  test("messages are read, with expressions as names; keys, labels and SQL are not", () => {
    const source = [
      'fail("the file cannot be opened");',
      "fail(`the table ${name(`x`)} has no key`);",
      'const key = "marmot.key";',
      'run("SELECT what FROM nobody WHERE it is so");',
      "run(`INSERT INTO ${table} VALUES (what is it all)`);",
    ].join("\n");
    expect(stringsOf("a.ts", source)).toEqual([
      { file: "a.ts", line: 1, text: "the file cannot be opened" },
      { file: "a.ts", line: 2, text: "the table CODE has no key" },
    ]);
  });

  test("paragraphs, items and headings of Markdown are apart; fences are left out, tables only give words", () => {
    const markdown =
      "# Head\nOne\ntwo.\n- item\n- [link](what.md)\n\n```\nnobody\n```\n| a | b |\n| - | - |\n";
    const { prose, tables } = paragraphsOf("a.md", markdown);
    expect(prose.map(({ line, text }) => [line, text])).toEqual([
      [1, "Head"],
      [2, "One\ntwo."],
      [4, "item"],
      [5, "[link]"],
    ]);
    expect(tables.map(({ line, text }) => [line, text])).toEqual([[10, "| a | b |"]]);
  });

  test("a sentence ends at a full stop before a space, and at an item of a list", () => {
    const text = "Version 1.2 of Bun is old. Is it?\n- an item\n- another";
    const sentences = sentencesOf({ file: "a.ts", line: 1, text });
    expect(sentences.map(({ words }) => words)).toEqual([6, 2, 2, 1]);
  });
});

describe("bad text is found", () => {
  test("a clause with 'what' in the place of a noun, from the second in a short text", () => {
    expect(messagesOf("It keeps what it read.")).toEqual([]);
    expect(messagesOf("It keeps what it read.\nIt removes rows of what was sent.")).toEqual([
      "1: 'what' in place of a noun: 166.67 per 1,000 words in a text, at most 2",
      "2: 'what' in place of a noun: 166.67 per 1,000 words in a text, at most 2",
    ]);
    const long = `It keeps what it read. It says what it did. ${"Words follow. ".repeat(1000)}`;
    expect(messagesOf(long)).toEqual([]);
  });

  test("'nobody' and 'stands'", () => {
    expect(messagesOf("Nobody reads it.")).toEqual(['1: "Nobody"; plain: no node, a process, each client']);
    expect(messagesOf("The row stands.\n\nThe value stood.")).toEqual([
      "1: stands and stood: 333.33 per 1,000 words in a text, at most 0.2",
      "3: stands and stood: 333.33 per 1,000 words in a text, at most 0.2",
    ]);
  });

  test("words with a plainer one, also in a table, with the line on which they are", () => {
    const tables = [{ file: "b.md", line: 7, text: "| the cure | see the log |" }];
    const offences = offencesIn({
      ...textOf("One.\nIt adopts the replica of an orphan,\nmeanwhile."),
      tables,
    });
    expect(offences.map(({ file, line, message }) => `${file}:${line} ${message.split(";")[0]}`)).toEqual([
      'a.md:3 "meanwhile"',
      'a.md:2 "orphan"',
      'a.md:2 "adopts"',
      'b.md:7 "cure"',
      'b.md:7 "see the log"',
    ]);
  });

  test("long sentences, where they are more than a tenth", () => {
    const long = `${"word ".repeat(25)}end.`;
    const texts = `${long}\n${long}\n${long}\n${long}\n`;
    expect(messagesOf(texts)).toHaveLength(4);
    expect(messagesOf(texts)[1]).toStartWith("2: a sentence of 26 words: 100 % of the sentences in a text");
    expect(messagesOf(texts + "Short. ".repeat(36))).toEqual([]);
  });

  test("a word in double quotes is a value and no offence", () => {
    expect(messagesOf('Dangling references have the kind "orphan".')).toEqual([]);
    expect(messagesOf('It has "no orphan".')).toHaveLength(1);
  });

  test("plain text has no offence", () => {
    expect(messagesOf("The node installs the snapshot. Rows of other nodes are not changed.")).toEqual([]);
  });
});
