/** The files of src as the tests of the architecture read them. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { codeOf } from "../../scripts/lib/pieces.ts";

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
