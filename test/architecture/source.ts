/** The files of src as the tests of the architecture read them. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { codeOf, piecesOf } from "../../scripts/source-text.ts";

export const ROOT = join(import.meta.dir, "../..");
export const SOURCE = join(ROOT, "src");

/** TypeScript under src, declarations excepted, relative to src and sorted. */
export const files = [...new Bun.Glob("**/*.ts").scanSync({ cwd: SOURCE })]
  .filter((f) => !f.endsWith(".d.ts"))
  .sort();

export const sourceOf = (file: string): string => readFileSync(join(SOURCE, file), "utf8");

/** `main.ts` is a room of its own. */
export const roomOf = (file: string): string =>
  file.includes("/") ? file.split("/")[0]! : file.replace(/\.ts$/, "");

/** Of `import … from`, `export … from`, `import "…"`, `import("…")`, `import("…").Type`, `require("…")`. */
export function importsOf(text: string): string[] {
  const found: string[] = [];
  let code = "";
  for (const piece of piecesOf(text)) {
    if (piece.kind === "code") code = piece.text;
    else if (piece.kind === "comment") continue;
    else {
      if (/\b(?:from|import|require)\s*\(?\s*$/.test(code)) found.push(piece.text.slice(1, -1));
      code = "";
    }
  }
  return found;
}

/** The imported path relative to src; it may lead out of src. */
export const targetOf = (file: string, target: string): string =>
  relative(SOURCE, resolve(dirname(join(SOURCE, file)), target));

/** The code of a file and the expressions in its templates, without text and comments. */
export const codeOfFile = (file: string): string => codeOf(sourceOf(file));

/** Paths relative to the root of the repository, without anything installed, built or kept by git. */
export function repositoryFiles(): string[] {
  const found: string[] = [];
  const visit = (folder: string): void => {
    for (const name of readdirSync(join(ROOT, folder))) {
      if (name === "node_modules" || name === "dist" || name === ".git") continue;
      const path = folder === "" ? name : `${folder}/${name}`;
      if (statSync(join(ROOT, path)).isDirectory()) visit(path);
      else found.push(path);
    }
  };
  visit("");
  return found.sort();
}
