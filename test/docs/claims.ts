/** Claims of a page that can be wrong: each function returns the wrong ones, in a sentence. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { VERBS } from "../../src/cli/main.ts";
import {
  anchors,
  type Command,
  fences,
  inlineCode,
  links,
  type Page,
  page,
  ROOT,
  withoutFences,
} from "./markdown.ts";

const packageJson = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  readonly scripts: Readonly<Record<string, string>>;
};

const tracked = [...new Bun.Glob("{src,test,scripts,assets,docs}/**/*").scanSync({ cwd: ROOT })];

/** Options of other programs that the pages name. */
const OTHERS: Readonly<Record<string, string>> = {
  "frozen-lockfile": "bun install",
  "preserve-rowids": "sqlite3",
  autogenerate: "alembic",
  check: "manage.py migrate",
  "check-heads": "alembic",
  all: "scripts/build.ts, beside the verbs",
  "ignore-missing": "sha256sum",
  bundle: "cosign",
  "certificate-oidc-issuer": "cosign",
  "certificate-identity-regexp": "cosign",
  owner: "gh",
  now: "systemctl",
};

const optionNames = new Set(VERBS.flatMap((v) => v.options.map((o) => o.name)));

/** A script's options: names in its `parseArgs`, or flags that it looks for by themselves. */
function scriptHas(script: string, option: string): boolean {
  const text = readFileSync(join(ROOT, script), "utf8");
  return (
    new RegExp(`(?:^|[{\\s,])"?${option}"?: \\{\\s*type:`, "m").test(text) || text.includes(`"--${option}"`)
  );
}

const scripts = tracked.filter((f) => /^scripts\/[\w-]+\.ts$/.test(f));

const flagsOf = (text: string): readonly string[] =>
  [...text.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)].map((m) => m[1]!);

export function wrongLinks(from: Page): readonly string[] {
  return links(from).flatMap(({ target, file, anchor }) => {
    if (file === null) return [];
    if (!existsSync(join(ROOT, file))) return [`${from.path}: ${target} leads nowhere`];
    const known = anchor === "" || !file.endsWith(".md") || anchors(page(file)).has(anchor);
    return known ? [] : [`${from.path}: ${target}: there is no such heading`];
  });
}

/** Paths of sources, tests and scripts; base names alone stand for any file of that name. */
export function wrongFiles(from: Page): readonly string[] {
  const paths = [...from.text.matchAll(/(?<![\w/.-])(?:src|test|scripts|assets)\/[\w./-]+/g)].map(
    (m) => m[0],
  );
  const names = inlineCode(from).filter((code) => /^[\w./-]+\.ts$/.test(code));
  const missing = [
    ...paths.filter((path) => !existsSync(join(ROOT, path.replace(/[.,]+$/, "")))),
    ...names.filter((name) => !tracked.some((file) => `/${file}`.endsWith(`/${name}`))),
  ];
  return [...new Set(missing)].map((path) => `${from.path}: there is no ${path}`);
}

/** Options and variables anywhere in the text. */
export function wrongOptions(from: Page): readonly string[] {
  const isKnown = (name: string): boolean =>
    optionNames.has(name) ||
    name in OTHERS ||
    scripts.some((s) => scriptHas(s, name)) ||
    name === "help" ||
    name === "color";
  const wrong = flagsOf(from.text).filter((name) => !isKnown(name));
  return [...new Set(wrong)].map((name) => `${from.path}: there is no option --${name}`);
}

let code = "";
const allCode = (): string =>
  (code ||= [...tracked.filter((f) => f.endsWith(".ts") && !f.startsWith("test/docs/")), "Dockerfile"]
    .map((f) => readFileSync(join(ROOT, f), "utf8"))
    .join("\n"));

export function wrongVariables(from: Page): readonly string[] {
  const names = [...from.text.matchAll(/\b(?:MARMOT|RAFT|FAULTS)_[A-Z_]*[A-Z]\b/g)].map((m) => m[0]);
  const ofOptions = new Set([...optionNames].map((o) => `MARMOT_${o.toUpperCase().replaceAll("-", "_")}`));
  const wrong = names.filter((name) => !ofOptions.has(name) && !allCode().includes(name));
  return [...new Set(wrong)].map((name) => `${from.path}: there is no variable ${name}`);
}

const ASSIGNMENTS = /^(?:[A-Z_]+=\S+ )+/;

/** Whether the program, script, verb, options and values of a command exist; what it does is another matter. */
export function wrongCommand({ page: from, text }: Command): readonly string[] {
  const wrong = (reason: string): readonly string[] => [`${from}: ${text}: ${reason}`];
  const words = text.replace(ASSIGNMENTS, "").split(/\s+/);
  const rest = words.slice(1);
  switch (words[0]) {
    case "marmot":
      return wrongVerb(rest).flatMap(wrong);
    case "npm":
      if (rest[0] === "ci") return [];
      return wrongScript(rest[0] === "run" ? rest[1] : rest[0], rest).flatMap(wrong);
    case "bun":
      return rest[0] === "install" ? [] : wrongScript(rest[1], rest).flatMap(wrong);
    case "npx":
      return wrongBun(rest).flatMap(wrong);
    default:
      return [];
  }
}

function wrongScript(name: string | undefined, words: readonly string[]): readonly string[] {
  if (name === undefined || !(name in packageJson.scripts)) return [`package.json has no script ${name}`];
  return missingPaths(words);
}

const missingPaths = (words: readonly string[]): readonly string[] =>
  words
    .filter((w) => /^(?:test|scripts)\//.test(w) && !existsSync(join(ROOT, w)))
    .map((w) => `there is no ${w}`);

/** `npx bun …`: after `npm ci` it is there, where `bun` alone need not be. */
function wrongBun([bun, script = "", ...words]: readonly string[]): readonly string[] {
  if (bun !== "bun") return [`npx ${bun} would download a package`];
  if (script === "test") return missingPaths(words);
  if (!existsSync(join(ROOT, script))) return [`there is no ${script}`];
  const missing = flagsOf(words.join(" ")).filter((flag) => !scriptHas(script, flag));
  return missing.map((flag) => `${script} has no option --${flag}`);
}

function wrongVerb([name, ...words]: readonly string[]): readonly string[] {
  if (name === "help" || name === "-db-path") return [];
  const verb = VERBS.find((v) => v.name === name);
  if (verb === undefined) return [`there is no verb ${name}`];
  return words.flatMap((word, i) => {
    const flag = /^--([a-z-]+)$/.exec(word)?.[1];
    if (flag === undefined || flag === "help") return [];
    const spec = verb.options.find((o) => o.name === flag);
    if (spec === undefined) return [`${name} has no option --${flag}`];
    const value = words[i + 1];
    if (spec.type === "flag" || value === undefined) return [];
    const expected =
      spec.choices?.includes(value) === false ? spec.choices.join(" or ") : spec.check?.(value);
    return typeof expected === "string" && /^[a-z0-9/]/.test(value)
      ? [`--${flag} should be ${expected}, not ${value}`]
      : [];
  });
}

/** Commands in running text, such as `marmot wait --all`. */
export const inlineCommands = (from: Page): readonly Command[] =>
  inlineCode(from)
    .flatMap((text) => text.split(" && "))
    .filter((text) => /^(?:marmot|npm|npx|bun (?:run|install)) /.test(text) && !/^marmot [A-Z_]/.test(text))
    .map((text) => ({ page: from.path, text }));

/** Bare `bun scripts/…`, which is "command not found" after `npm ci` alone. */
export const bareBun = (from: Page): readonly string[] =>
  [...from.text.matchAll(/(?<!npx )\bbun (?:scripts\/|test\b)\S*/g)].map(
    (m) => `${from.path}: ${m[0]} needs Bun on the path; write npx ${m[0]}`,
  );

/** Headings that quote a message: each fixed part must be in one source file. */
export function wrongMessages(from: Page): readonly string[] {
  const sources = tracked
    .filter((f) => f.startsWith("src/") && f.endsWith(".ts"))
    .map((f) => readFileSync(join(ROOT, f), "utf8"));
  const quoted = [...from.text.matchAll(/^### `(.*)`$/gm)].map((m) => m[1]!);
  return quoted
    .filter((message) => {
      const parts = message
        .split("…")
        .map((part) => part.trim())
        .filter((part) => part !== "");
      return !sources.some((source) => parts.every((part) => source.includes(part)));
    })
    .map((message) => `${from.path}: no source file says "${message}"`);
}

/** Options of the verbs that a page should name and does not. */
export const missingOptions = (from: Page): readonly string[] =>
  [...optionNames].filter((name) => !flagsOf(from.text).includes(name)).map((name) => `--${name}`);

/** Words of prose, as a reader counts them. */
export const proseWords = (from: Page): number =>
  withoutFences(from)
    .split(/\s+/)
    .filter((w) => w !== "").length;

/** Kept plans and cases that a table of found bugs names. */
export const wrongPlans = (from: Page): readonly string[] =>
  [...from.text.matchAll(/^\| .* \| `([a-z-]+)` \|$/gm)]
    .map((m) => m[1]!)
    .filter((name) => !tracked.some((file) => file.endsWith(`/failed/${name}.json`)))
    .map((name) => `${from.path}: ${name} is not kept`);

/** Configuration files and JSON documents in fences. */
export function wrongExamples(from: Page): readonly string[] {
  const keys = fences(from, "toml").flatMap((text) => Object.keys(Bun.TOML.parse(text)));
  const wrong = keys.filter((key) => !optionNames.has(key)).map((key) => `there is no option ${key}`);
  const broken = fences(from, "json").filter((text) => {
    try {
      JSON.parse(text);
      return false;
    } catch {
      return true;
    }
  });
  return [...wrong, ...broken.map((text) => `no JSON: ${text}`)].map((reason) => `${from.path}: ${reason}`);
}

/** Names of all fields of a document, of lists by their first item. */
export function fieldsOf(document: unknown): readonly string[] {
  if (Array.isArray(document)) return fieldsOf(document[0]);
  if (typeof document !== "object" || document === null) return [];
  return Object.entries(document).flatMap(([name, value]) => [name, ...fieldsOf(value)]);
}
