/** README and docs/ as data: fences, inline code, links, headings. Knows the Markdown of these pages, no more. */
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

export const ROOT = join(import.meta.dir, "../..");

export interface Page {
  /** From the root: `docs/faq.md`. */
  readonly path: string;
  readonly text: string;
}

export interface Command {
  readonly page: string;
  /** As written, without its comment. */
  readonly text: string;
}

export const page = (path: string): Page => ({ path, text: readFileSync(join(ROOT, path), "utf8") });

/** README.md, CHANGELOG.md and every page of docs/. */
export function pages(): readonly Page[] {
  const docs = [...new Bun.Glob("docs/*.md").scanSync({ cwd: ROOT })].sort();
  return ["README.md", "CHANGELOG.md", ...docs].map(page);
}

const FENCE = /^```(\w*)\n([\s\S]*?)^```$/gm;

export const fences = ({ text }: Page, language: string): readonly string[] =>
  [...text.matchAll(FENCE)].filter((m) => m[1] === language).map((m) => m[2]!);

export const withoutFences = ({ text }: Page): string => text.replace(FENCE, "");

/** Lines of the `sh` fences, commands that `&&` joins apart. */
export const commands = (from: Page): readonly Command[] =>
  fences(from, "sh").flatMap((fence) =>
    fence
      .split("\n")
      .flatMap((line) => line.replace(/\s+#.*$/, "").split(" && "))
      .map((text) => text.trim())
      .filter((text) => text !== "")
      .map((text) => ({ page: from.path, text })),
  );

export const inlineCode = (from: Page): readonly string[] =>
  [...withoutFences(from).matchAll(/`([^`\n]+)`/g)].map((m) => m[1]!.replaceAll("\\|", "|"));

export const headings = ({ text }: Page): readonly string[] =>
  [...text.replace(FENCE, "").matchAll(/^#+ (.*)$/gm)].map((m) => m[1]!);

/** As GitHub makes them: https://docs.github.com/en/get-started/writing-on-github (section links). */
export function anchors(from: Page): ReadonlySet<string> {
  const seen = new Map<string, number>();
  const all = headings(from).map((heading) => {
    const slug = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-");
    const times = seen.get(slug) ?? 0;
    seen.set(slug, times + 1);
    return times === 0 ? slug : `${slug}-${times}`;
  });
  return new Set(all);
}

export interface Link {
  readonly target: string;
  /** From the root; null: another site. */
  readonly file: string | null;
  /** "" if it names none. */
  readonly anchor: string;
}

export const links = (from: Page): readonly Link[] =>
  [...withoutFences(from).matchAll(/\]\(([^)\s]+)\)/g)].map((m) => {
    const target = m[1]!;
    if (/^[a-z]+:/.test(target)) return { target, file: null, anchor: "" };
    const [path = "", anchor = ""] = target.split("#", 2);
    return { target, file: path === "" ? from.path : normalize(join(dirname(from.path), path)), anchor };
  });
