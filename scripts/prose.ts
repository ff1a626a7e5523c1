/**
 * Checks the words of comments, documents and messages by the rules of scripts/lib/prose-rules.ts. Prints each offence
 * with its place, and ends with 1 when there is one. --counts prints the measured rates first.
 *
 *   bun scripts/prose.ts [--counts] [--root FOLDER]
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { commentsOf, paragraphsOf, type Passage, stringsOf } from "./lib/passages.ts";
import { type Group, measure, offencesIn } from "./lib/prose-rules.ts";
import { parseScriptArgs } from "./lib/usage.ts";

/** The old words are what it explains. */
const GLOSSARY = "docs/glossary.md";

function sourcesIn(root: string, folder: string): { file: string; source: string }[] {
  const paths = [...new Bun.Glob(`${folder}/**/*.ts`).scanSync({ cwd: root })].sort();
  return paths.map((file) => ({ file, source: readFileSync(join(root, file), "utf8") }));
}

/** The folder below src; `src/main.ts` is a room of its own. */
const roomOf = (file: string): string => file.split("/").slice(0, 2).join("/");

function groupsOf(root: string): Group[] {
  const sources = sourcesIn(root, "src");
  const rooms = Map.groupBy(sources, ({ file }) => roomOf(file));
  const comments = [...rooms].map(([room, files]) => ({
    name: `the comments of ${room}`,
    passages: files.flatMap(({ file, source }) => commentsOf(file, source)),
  }));
  const scripts = sourcesIn(root, "scripts").flatMap(({ file, source }) => commentsOf(file, source));
  const strings = sources.flatMap(({ file, source }) => stringsOf(file, source));
  return [
    ...comments,
    { name: "the comments of scripts", passages: scripts },
    { name: "the messages of src", passages: strings },
    documents(root, "docs", [...new Bun.Glob("docs/**/*.md").scanSync({ cwd: root })].sort()),
    ...["README.md", "CHANGELOG.md"]
      .filter((file) => existsSync(join(root, file)))
      .map((file) => documents(root, file, [file])),
  ];
}

function documents(root: string, name: string, files: readonly string[]): Group {
  const passages: Passage[] = [];
  const tables: Passage[] = [];
  for (const file of files) {
    const found = paragraphsOf(file, readFileSync(join(root, file), "utf8"));
    passages.push(...found.prose);
    if (file !== GLOSSARY) tables.push(...found.tables);
  }
  return { name, passages, tables };
}

const { values } = parseScriptArgs(import.meta.path, {
  counts: { type: "boolean", default: false },
  root: { type: "string", default: join(import.meta.dir, "..") },
});
const groups = groupsOf(values.root);
if (values.counts) {
  const cell = (n: number): string => n.toFixed(2).padStart(8);
  console.log(`${"".padEnd(36)}   words    what  nobody  stands    long`);
  for (const { name, words, rates, longShare } of groups.map(measure))
    console.log(`${name.padEnd(36)}${String(words).padStart(8)}${[...rates, longShare].map(cell).join("")}`);
}
const offences = groups.flatMap(offencesIn);
for (const { file, line, message } of offences) console.log(`${file}:${line}: ${message}`);
if (offences.length > 0) console.log(`${offences.length} offences`);
process.exit(offences.length === 0 ? 0 : 1);
