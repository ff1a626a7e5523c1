/**
 * Writes the JSON Schemas of all documents that the verbs and the API give, the OpenAPI document and llms.txt: from the types
 * of the source, the table of paths in docs/http-api.md and the list of pages. Without --write, ends with 1 when the stored ones differ.
 *
 *   bun scripts/schemas.ts [--write]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createDocuments } from "./lib/api-documents.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, { write: { type: "boolean", default: false } });
const ROOT = join(import.meta.dir, "..");
let differ = 0;
for (const [path, text] of Object.entries(createDocuments(ROOT))) {
  const full = join(ROOT, path);
  if (values.write) writeFileSync(full, text);
  else if (readFileSync(full, "utf8") !== text) {
    differ++;
    console.log(`${path} is not up to date: bun scripts/schemas.ts --write`);
  }
}
process.exit(differ === 0 ? 0 : 1);
