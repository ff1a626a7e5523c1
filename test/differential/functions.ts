/** The function of the applications that nodes can have, too: in the process of the test, and as a file for `--functions`. */
import { writeFileSync } from "node:fs";
import { type Extensions, useExtensions } from "../../src/sqlite/functions/extensions.ts";
import { NODE_FUNCTION } from "./draw-table.ts";

/**
 * The same for every binding: large integers, whole REAL values and texts that are no valid UTF-8 reach JavaScript in different
 * ways.
 */
export const partOf = (value: unknown): number | null => {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return 6;
  if (typeof value !== "number" && typeof value !== "bigint") return 7;
  const number = Number(value);
  return Number.isSafeInteger(number) ? Math.abs(number % 5) : 5;
};

const NONE: Extensions = { libraries: [], functions: new Map(), names: new Set(), digest: "" };

const GIVEN: Extensions = {
  ...NONE,
  functions: new Map([[NODE_FUNCTION, partOf]]),
  names: new Set([NODE_FUNCTION]),
  digest: "0123456789abcdef",
};

/** Each connection of the nodes that is opened by `work` has the function, or none has. */
export async function withFunctions<T>(hasFunctions: boolean, work: () => Promise<T>): Promise<T> {
  useExtensions(hasFunctions ? GIVEN : NONE);
  try {
    return await work();
  } finally {
    useExtensions(NONE);
  }
}

/** Returns the options of a process that has the function. */
export function functionsOption(folder: string): string[] {
  const file = `${folder}/functions.js`;
  writeFileSync(
    file,
    `const partOf = ${partOf.toString()};
export const ${NODE_FUNCTION} = partOf;
`,
  );
  return ["--functions", file];
}
