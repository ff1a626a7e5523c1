/** The JSON Schemas of the API's documents, and its OpenAPI document. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createGenerator } from "ts-json-schema-generator";

type Schema = Readonly<Record<string, unknown>>;

/** The type of the answer by path; "[]" behind a name: a list of it. Other paths answer texts or small objects. */
const ANSWERS: Readonly<Record<string, string>> = {
  "/api/v1/status": "NodeStatus",
  "/api/v1/members": "MemberStatus[]",
  "/api/v1/wait": "WaitResult",
  "/api/v1/verify": "VerifyResult",
  "/api/v1/repair": "FileRepair",
  "/api/v1/history": "NodeHistory",
  "/api/v1/tables": "TableStatus[]",
  "/api/v1/events": "NodeEvent[]",
  "/api/v1/conflicts": "ConflictSummary[]",
  "/api/v1/conflicts/{id}": "ConflictDetail",
  "/api/v1/conflicts/{id}/restore": "RestoreResult",
};
/** Documents of `--json`, beside those of the API: file, type. */
const VERBS: readonly (readonly [source: string, type: string])[] = [
  ["src/node/offline/doctor.ts", "Inspection"],
  ["src/node/offline/cleanup.ts", "CleanupResult"],
  ["src/node/offline/rejoin.ts", "RejoinResult"],
  ["src/cli/verbs/key.ts", "KeyDocument"],
  ["src/cli/verbs/key.ts", "RotationDocument"],
  ["src/cli/verbs/version.ts", "VersionDocument"],
  ["src/cli/verbs/past/diff-verb.ts", "DiffLine"],
  ["src/cli/verbs/past/undo-verb.ts", "UndoDocument"],
  ["src/node/backup/restore-file.ts", "RestoredFile"],
  ["src/node/backup/restore-into.ts", "IntoDocument"],
  ["src/node/backup/take-backup.ts", "Backup"],
  ["src/node/backup/restore-archive.ts", "RestoredMoment"],
  ["src/node/backup/restore-archive.ts", "VerifiedArchive"],
  ["src/node/backup/archive-report.ts", "ArchiveReport"],
];
const TEXTS = ["/healthz", "/readyz", "/metrics", "/"];
const MEMBER_ACTIONS = ["remove", "promote", "demote", "transfer", "rename"];

function definitions(root: string, path: string, type: string): Record<string, Schema> {
  const generator = createGenerator({
    path: join(root, path),
    tsconfig: join(root, "tsconfig.json"),
    type,
    // Later versions may add fields.
    additionalProperties: true,
    skipTypeCheck: true,
    topRef: true,
  });
  return (generator.createSchema(type).definitions ?? {}) as Record<string, Schema>;
}

/** In the order of their names. */
function collect(root: string): Record<string, Schema> {
  const all: Record<string, Schema> = {};
  Object.assign(all, definitions(root, "src/operations/api.ts", "*"));
  delete all.NodeApi; // methods, no document
  for (const [path, type] of VERBS) Object.assign(all, definitions(root, path, type));
  const sorted = Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted);
}

const referTo = (at: string, schemas: Record<string, Schema>): Record<string, Schema> =>
  JSON.parse(JSON.stringify(schemas).replaceAll('"#/definitions/', `"${at}`)) as Record<string, Schema>;

interface Row {
  readonly method: string;
  readonly path: string;
  readonly about: string;
  readonly query: readonly string[];
}

const plainText = (markdown: string): string =>
  markdown.replace(/\[([^\]]+)\]\([^)]*\)/g, "$1").replaceAll("`", "");

/** The rows of the table of paths in docs/http-api.md. */
export function apiRows(markdown: string): Row[] {
  return [...markdown.matchAll(/^\| `(GET|POST) (\/\S*)` \| (.+) \|$/gm)].flatMap((match) => {
    const [, method, path, about] = match as unknown as [string, string, string, string];
    const query = [...(/[Qq]uery:? (.+)$/.exec(about)?.[1] ?? "").matchAll(/`(\w+)(?:=\w+)?`/g)].map(
      (m) => m[1]!,
    );
    const row = { method, about: plainText(about), query };
    if (!path.endsWith("/ACTION")) return [{ ...row, path: path.replace("/ID", "/{id}") }];
    const base = path.replace("/ID", "/{id}").replace("/ACTION", "");
    return MEMBER_ACTIONS.map((action) => ({
      ...row,
      query: action === "rename" ? ["to"] : [],
      path: `${base}/${action}`,
    }));
  });
}

const reference = (name: string): Schema =>
  name.endsWith("[]")
    ? { type: "array", items: reference(name.slice(0, -2)) }
    : { $ref: `#/components/schemas/${name}` };

function operation({ path, about, query }: Row): Schema {
  const name = ANSWERS[path];
  const schema = name === undefined ? { type: "object" } : reference(name);
  const type = TEXTS.includes(path) ? (path === "/" ? "text/html" : "text/plain") : "application/json";
  const content = { [type]: { schema: TEXTS.includes(path) ? { type: "string" } : schema } };
  const parameters = [
    ...(path.includes("{id}")
      ? [{ name: "id", in: "path", required: true, schema: { type: "string" } }]
      : []),
    ...query.map((one) => ({ name: one, in: "query", required: false, schema: { type: "string" } })),
  ];
  const problem = {
    description: "An error with a hint",
    content: { "application/json": { schema: reference("Problem") } },
  };
  return {
    summary: about.split(/[.;:]/)[0],
    description: about,
    ...(parameters.length === 0 ? {} : { parameters }),
    responses: { "200": { description: "Done", content }, default: problem },
  };
}

function openApi(root: string, schemas: Record<string, Schema>): Schema {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const rows = apiRows(readFileSync(join(root, "docs/http-api.md"), "utf8"));
  const paths: Record<string, Record<string, Schema>> = {};
  for (const row of rows)
    paths[row.path] = { ...paths[row.path], [row.method.toLowerCase()]: operation(row) };
  const text = { type: "string" };
  return {
    openapi: "3.1.0",
    info: {
      title: "Marmot",
      version,
      description: "The API of one node. See docs/http-api.md.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "http://127.0.0.1:6010" }],
    security: [{ token: [] }, {}],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        ...schemas,
        Problem: { type: "object", properties: { error: text, hint: text }, required: ["error", "hint"] },
      },
    },
  };
}

/** https://llmstxt.org: the pages that docs/README.md lists, with their sections. */
function llmsText(root: string): string {
  const lines = readFileSync(join(root, "docs/README.md"), "utf8").split("\n").slice(1);
  const pages = lines.flatMap((line) => {
    if (line.startsWith("## ")) return ["", line, ""];
    const links = [...line.matchAll(/\[([^\]]+)\]\(([^)]+\.md)\)/g)];
    const about = links.length === 1 ? line.slice(line.indexOf(")") + 1).replace(/^:? */, "") : "";
    return links.map(([, title, path]) => `- [${title}](docs/${path})${about === "" ? "" : `: ${about}`}`);
  });
  return [
    "# Marmot",
    "",
    "> Marmot replicates one plain SQLite file to several machines while applications keep writing to it. Every node takes writes; Raft gives them one order. One binary, no change in the application.",
    ...pages,
    ...["", "## Machine-readable", ""],
    "- [OpenAPI of the HTTP API](docs/schemas/openapi.json)",
    "- [JSON Schemas of all documents](docs/schemas/documents.json)",
    "- [Alert rules](deploy/prometheus/marmot-alerts.yml)",
    ...["", "## Start", ""],
    "- [README](README.md): a cluster in a minute, and the guarantees",
    "- [Changes](CHANGELOG.md)",
    "",
  ].join("\n");
}

/** Path ⇒ text. */
export function createDocuments(root: string): Record<string, string> {
  const schemas = collect(root);
  const show = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
  return {
    "docs/schemas/documents.json": show({
      $schema: "http://json-schema.org/draft-07/schema#",
      title: "The JSON documents of Marmot's verbs and of its API",
      definitions: schemas,
    }),
    "llms.txt": llmsText(root),
    "docs/schemas/openapi.json": show(openApi(root, referTo("#/components/schemas/", schemas))),
  };
}
