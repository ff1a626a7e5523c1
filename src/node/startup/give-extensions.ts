/** Loads the functions and libraries of `--functions` and `--load-extension`, and proves that SQLite takes them. */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { errorMessage, UserError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { withScratch } from "../../schema/scratch.ts";
import { type ApplicationFunction, useExtensions } from "../../sqlite/functions/extensions.ts";
import { queryOf } from "../../sqlite/query.ts";

export interface ExtensionOptions {
  /** A JavaScript file that exports functions; null: none. */
  readonly functions?: string | null;
  /** Shared libraries. */
  readonly libraries?: readonly string[];
}

/** Each connection that this process opens afterwards has them. Throws `UserError`. */
export async function giveExtensions({
  functions: file = null,
  libraries = [],
}: ExtensionOptions): Promise<void> {
  if (file === null && libraries.length === 0) return;
  for (const path of [...(file === null ? [] : [file]), ...libraries])
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true)
      throw new UserError(
        `${path} does not exist`,
        `check ${path === file ? "--functions" : "--load-extension"}`,
      );
  const functions = file === null ? new Map<string, ApplicationFunction>() : await readFunctions(file);
  const builtIn = functionNames();
  const common = { libraries: libraries.map((path) => resolve(path)), functions };
  useExtensions({ ...common, names: new Set(), digest: "" });
  let present: Set<string>;
  try {
    present = functionNames();
  } catch (error) {
    throw new UserError(
      `SQLite cannot load ${libraries.join(", ")}: ${errorMessage(error)}`,
      "check --load-extension: the library must be built for this platform",
      { cause: error },
    );
  }
  const names = new Set([...present.difference(builtIn), ...[...functions.keys()].map(foldName)]);
  const digest = createHash("sha256").update(JSON.stringify([...names].sort()));
  if (file !== null) digest.update(readFileSync(file));
  useExtensions({ ...common, names, digest: digest.digest("hex").slice(0, 16) });
}

const functionNames = (): Set<string> =>
  withScratch((db) => {
    const rows = queryOf(db)("SELECT DISTINCT name FROM pragma_function_list");
    return new Set(rows.map(([name]) => foldName(String(name))));
  });

/** Every exported function, under its name; those of a default export, too. */
async function readFunctions(file: string): Promise<Map<string, ApplicationFunction>> {
  let module: Record<string, unknown>;
  try {
    module = (await import(pathToFileURL(resolve(file)).href)) as Record<string, unknown>;
  } catch (error) {
    throw new UserError(
      `${file} cannot be loaded: ${errorMessage(error)}`,
      "it must be a JavaScript module that exports functions, such as: export function regexp(pattern, text) { … }",
      { cause: error },
    );
  }
  const { default: others, ...named } = module;
  const all = [...Object.entries(named), ...Object.entries((others ?? {}) as Record<string, unknown>)];
  const functions = new Map(
    all.flatMap(([name, value]) =>
      typeof value === "function" ? [[name, value as ApplicationFunction]] : [],
    ),
  );
  if (functions.size === 0)
    throw new UserError(
      `${file} exports no function`,
      "export one under each name that SQLite calls, such as: export function regexp(pattern, text) { … }",
    );
  return functions;
}
