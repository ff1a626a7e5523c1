/** The arguments of a script. Its first comment is its help. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

/** The first comment of a script without its marks. */
export const usageOf = (source: string): string =>
  (/\/\*\*([\s\S]*?)\*\//.exec(source)?.[1] ?? "")
    .split("\n")
    .map((line) => line.replace(/^\s*\*?\s?/, "").trimEnd())
    .join("\n")
    .trim();

export const printUsage = (path: string): void => console.log(usageOf(readFileSync(path, "utf8")));

/**
 * Options and positional arguments of the script at `path`. `--help` prints its first comment and ends with 0; a wrong
 * option is named and ends with 2.
 */
export function parseScriptArgs<T extends ParseArgsOptionsConfig>(path: string, options: T) {
  try {
    const parsed = parseArgs({
      allowPositionals: true,
      options: { ...options, help: { type: "boolean", default: false } as const },
    });
    if (!(parsed.values as { help?: boolean }).help) return parsed;
    printUsage(path);
    return process.exit(0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    console.error(`hint: bun scripts/${basename(path)} --help`);
    return process.exit(2);
  }
}
