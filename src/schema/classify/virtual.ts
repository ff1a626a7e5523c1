/** Virtual tables never replicate. An index over replicated tables that triggers keep is kept on every node. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { fillersOf } from "../fill-index.ts";
import { type DerivedIndex, derivedIndexOf } from "../search-index.ts";
import type { UserTriggers } from "../triggers.ts";
import { type ClassifiedTable, refused, replicates } from "./table-verdict.ts";

interface Surroundings {
  /** The other tables, virtual ones included. */
  readonly tables: readonly ClassifiedTable[];
  /** Names of views, in lower case. */
  readonly views: ReadonlySet<string>;
  readonly triggers: UserTriggers;
  readonly objects: readonly SchemaObject[];
}

const leaveOut = (name: string): string => `leave it out: --exclude ${name}, and fill it on each node`;

const keptBy = (name: string, of: string, kind: string): ClassifiedTable => ({
  name,
  verdict: "local",
  reason: `${kind} of ${of}: every node builds its own, and its triggers keep it up to date`,
  hint: "",
});

export function classifyVirtual(object: SchemaObject, around: Surroundings): ClassifiedTable {
  const { name } = object;
  const index = derivedIndexOf(object);
  if (index === null)
    return { ...refused(name, "it is a virtual table", leaveOut(name)), fix: "fill it on each node" };
  return index.kind === "external" ? classifyExternal(index, around) : classifyKept(index, around);
}

/** Events of replicated tables, or of views, whose triggers write the table. */
function eventsOf(name: string, { triggers }: Surroundings): Set<string> {
  return new Set(
    [...triggers.byName.values()].flatMap((t) =>
      t.mode === "passes" &&
      t.writes.has(foldName(name)) &&
      (triggers.isReplicated(t.table) || triggers.isView(t.table))
        ? [t.event]
        : [],
    ),
  );
}

const missingOf = (events: ReadonlySet<string>): string[] =>
  ["INSERT", "UPDATE", "DELETE"].filter((event) => !events.has(event));

function classifyExternal(index: DerivedIndex, around: Surroundings): ClassifiedTable {
  const { name } = index;
  const content = foldName(index.content);
  const source = around.tables.find((t) => foldName(t.name) === content);
  if (!around.views.has(content) && (source === undefined || !replicates(source)))
    return {
      name,
      verdict: "skipped",
      reason: `a full-text index of ${index.content}, which does not replicate`,
      hint: "",
    };
  const missing = missingOf(eventsOf(name, around));
  if (missing.length > 0)
    return refused(
      name,
      `it is a full-text index of ${index.content} without a trigger that updates it on ${missing.join(", ")}: a search would miss rows of other nodes`,
      "create the triggers that the documentation of FTS5 gives for external content",
      `or ${leaveOut(name)}`,
    );
  return keptBy(name, index.content, "a full-text index");
}

/** It has its own rows. They follow from other tables if triggers write them for every change of these. */
function classifyKept({ name, kind }: DerivedIndex, around: Surroundings): ClassifiedTable {
  const { objects, triggers } = around;
  const sources = fillersOf(objects, name).map(({ table }) => table);
  const isKept = sources.length > 0 && sources.every((table) => triggers.isReplicated(table));
  if (isKept && missingOf(eventsOf(name, around)).length === 0)
    return keptBy(name, sources[0]!, kind === "r-tree" ? "an R-tree" : "a full-text index");
  const calls = [...triggers.byName.values()].some((t) => t.problem !== null && t.writes.has(foldName(name)));
  if (isKept && calls)
    return refused(
      name,
      "its triggers call functions that only the application has",
      "give these with --functions FILE.js",
      `or ${leaveOut(name)}`,
    );
  if (kind === "r-tree")
    return { ...refused(name, "it is a virtual table", leaveOut(name)), fix: "fill it on each node" };
  return refused(
    name,
    "it is a full-text index without external content, which cannot be rebuilt on another node",
    "keep the text in an ordinary table with triggers that update the index on INSERT, UPDATE and DELETE, or name that table with content=",
    `or ${leaveOut(name)}`,
  );
}
