/**
 * Writes the manual page of the command, from the same table as its help: to standard output, or to a file.
 *
 *   bun scripts/man.ts [--out FILE]
 */
import { writeFileSync } from "node:fs";
import { VERBS } from "../src/cli/main.ts";
import { manPage } from "../src/cli/man-page.ts";
import packageJson from "../package.json" with { type: "json" };
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, { out: { type: "string" } });
const page = manPage(VERBS, packageJson.version);
if (values.out === undefined) process.stdout.write(page);
else writeFileSync(values.out, page);
