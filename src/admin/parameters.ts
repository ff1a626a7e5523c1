/** The query parameters of the admin API: a schema each, and the refusal of a bad value. */
import * as v from "valibot";
import { MAX_TIMEOUT_MS, parseDuration } from "../base/duration.ts";
import { UserError } from "../base/errors.ts";
import { parsePosition } from "../base/text/position-token.ts";
import { isNodeName, MAX_NODE_NAME } from "../base/names.ts";
import type { ChangesOptions, UndoOptions } from "../operations/changes-api.ts";
import type { ConflictFilter, NodeApi, WaitOptions } from "../operations/api.ts";

const MAX_CONFLICTS = 10_000;

interface Parameter<T> {
  readonly schema: v.GenericSchema<string, T>;
  /** The value when the parameter is absent. */
  readonly usual: T;
  /** Completes "NAME should be …". */
  readonly expected: string;
  readonly hint: (name: string) => string;
}

const flag: Parameter<boolean> = {
  schema: v.pipe(
    v.picklist(["true", "1", "", "false", "0"]),
    v.transform((given) => given !== "false" && given !== "0"),
  ),
  usual: false,
  expected: "true or false",
  hint: (name) => `use ${name}=true, or leave it out`,
};

const timeout: Parameter<number> = {
  schema: v.pipe(
    v.string(),
    // A number alone is milliseconds, as in version 0.1.
    v.transform((given) => parseDuration(given, "ms")),
    v.number(),
    v.transform((ms) => Math.min(ms, MAX_TIMEOUT_MS)),
  ),
  usual: 10_000,
  expected: "a duration such as 10s",
  hint: () => "use 500ms, 10s or 2m",
};

const limit: Parameter<number> = {
  schema: v.pipe(v.string(), v.regex(/^\d+$/), v.transform(Number), v.minValue(1), v.maxValue(MAX_CONFLICTS)),
  usual: 100,
  expected: `a whole number from 1 to ${MAX_CONFLICTS}`,
  hint: () => "leave it out for the newest 100",
};

const after: Parameter<number> = {
  schema: v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number)),
  usual: 0,
  expected: "the id of an event",
  hint: (name) => `leave ${name} out for all events that are kept`,
};

function read<T>(query: URLSearchParams, name: string, { schema, usual, expected, hint }: Parameter<T>): T {
  const given = query.get(name);
  if (given === null) return usual;
  const result = v.safeParse(schema, given);
  if (result.success) return result.output;
  throw new UserError(`${name} should be ${expected}, not ${given}`, hint(name));
}

/** Throws `UserError` for a value that is no flag. */
export const recoverQuery = (query: URLSearchParams): { readonly plan: boolean } => ({
  plan: read(query, "plan", flag),
});

const position: Parameter<string | null> = {
  schema: v.pipe(
    v.string(),
    v.check((given) => parsePosition(given) !== null),
  ),
  usual: null,
  expected: "a position such as c:812",
  hint: () => "leave it out to wait for the writes of this file",
};

/** Each throws `UserError` for a value that is not of its schema. */
export const waitQuery = (query: URLSearchParams): WaitOptions => ({
  all: read(query, "all", flag),
  timeoutMs: read(query, "timeout", timeout),
  position: read(query, "position", position),
  here: read(query, "here", { ...flag, usual: true }),
});

export interface VerifyQuery {
  readonly deep: boolean;
  readonly repair: boolean;
  readonly publish: { readonly table: string | null } | null;
  readonly timeoutMs: number;
}

export function verifyQuery(query: URLSearchParams): VerifyQuery {
  const repair = read(query, "repair", flag);
  const publish = read(query, "publish", flag);
  if (repair && publish)
    throw new UserError(
      "repair and publish exclude each other",
      "choose one of them: publish orders this file's rows",
    );
  return {
    ...{ deep: read(query, "deep", flag), repair, timeoutMs: read(query, "timeout", timeout) },
    publish: publish ? { table: query.get("table") } : null,
  };
}

/** `open`: the usual value. */
export const conflictFilter = (query: URLSearchParams, open = false): ConflictFilter => ({
  table: query.get("table"),
  since: query.get("since"),
  origin: query.get("origin"),
  open: read(query, "open", { ...flag, usual: open }),
});

export const conflictsQuery = (query: URLSearchParams): ConflictFilter & { readonly limit: number } => ({
  ...conflictFilter(query),
  limit: read(query, "limit", limit),
});

/** The restore of all conflicts of a table in which a node's write lost. */
export function restoreAllQuery(query: URLSearchParams): Parameters<NodeApi["restoreAll"]>[0] {
  const [table, from] = [query.get("table"), query.get("from")];
  if (table === null || from === null)
    throw new UserError("a restore of all conflicts needs table and from", "use table=TABLE&from=NODE");
  return { table, from, overwrite: read(query, "overwrite", flag), dryRun: read(query, "dryRun", flag) };
}

export const eventsQuery = (query: URLSearchParams): { readonly limit: number; readonly after: number } => ({
  limit: read(query, "limit", { ...limit, usual: 200 }),
  after: read(query, "after", after),
});

export const restoreQuery = (
  query: URLSearchParams,
): { readonly asNew: boolean; readonly overwrite: boolean } => ({
  asNew: read(query, "asNew", flag),
  overwrite: read(query, "overwrite", flag),
});

/** A demoted member becomes a learner, or a reader. */
export function demoteQuery(query: URLSearchParams): string | undefined {
  const to = query.get("to") ?? "learner";
  if (to === "learner") return undefined;
  if (to === "reader") return to;
  throw new UserError(
    `to should be learner or reader, not ${JSON.stringify(to)}`,
    "use to=reader, or leave it out",
  );
}

/** The new name of a member, under the rule of --name. */
export function renameQuery(query: URLSearchParams): string {
  const to = query.get("to") ?? "";
  if (isNodeName(to)) return to;
  throw new UserError(
    `to should be a name of at most ${MAX_NODE_NAME} printable characters, not ${JSON.stringify(to)}`,
    "use to=NAME",
  );
}

/** An `EventSource` that connects again names the last event that it got. */
export function changesQuery(query: URLSearchParams, headers: Headers): ChangesOptions {
  const tables = query.get("tables");
  return {
    since: headers.get("last-event-id") ?? query.get("since"),
    tables: tables === null ? null : tables.split(",").map((name) => name.trim()),
    follow: read(query, "follow", { ...flag, usual: true }),
  };
}

export function undoQuery(query: URLSearchParams): UndoOptions {
  const [at, since] = [query.get("position"), query.get("since")];
  if ((at === null) === (since === null))
    throw new UserError("an undo needs either position or since", "use position=c:812 or since=10m");
  return {
    ...{ position: at, since, origin: query.get("origin"), table: query.get("table") },
    ...{ force: read(query, "force", flag), dryRun: read(query, "dryRun", flag) },
  };
}
