/** Which archive a verb reads: the word, the option, or that of the node of FILE. */
import { UserError } from "../../../base/errors.ts";
import type { MemberStatus, NodeStatus } from "../../../operations/api.ts";
import type { ArchiveStatus } from "../../../operations/archive-api.ts";
import { NodeClient } from "../../client.ts";
import type { Options } from "../../options/options.ts";
import { dataDirOf, hasNode, text } from "../../verb.ts";

const ANSWER_MS = 5000;

export interface ArchivePlace {
  readonly to: string;
  readonly keyFile: string | null;
  /** As the node of FILE says it; null: no node was asked. */
  readonly node: ArchiveStatus | null;
}

/** Throws `UserError`. */
export async function archivePlace(options: Options, given: string | null): Promise<ArchivePlace> {
  const to = given ?? text(options, "archive");
  const key = text(options, "archive-key");
  const node = hasNode(options) ? await askNode(options, to === null) : null;
  if (to !== null)
    return {
      to,
      keyFile: key ?? (node?.to === to ? node.keyFile : null),
      node: node?.to === to ? node : null,
    };
  if (node !== null) return { to: node.to, keyFile: key ?? node.keyFile, node };
  throw new UserError(
    "no archive is named",
    "name it, or give --archive DIR or s3://BUCKET/PREFIX, or --db FILE of a node that ships to one",
  );
}

/** The options name an archive, or a node that may ship to one. */
export const namesArchive = (options: Options): boolean =>
  text(options, "archive") !== null || hasNode(options);

/** null: the node has none, or does not answer and need not. */
async function askNode(options: Options, isNeeded: boolean): Promise<ArchiveStatus | null> {
  const client = new NodeClient(dataDirOf(options));
  if (!isNeeded && !(await client.answers(ANSWER_MS))) return null;
  const { archive } = await client.request<NodeStatus>("GET", "/api/v1/status", ANSWER_MS);
  if (archive === null && isNeeded)
    throw new UserError(
      `the node of ${text(options, "db") ?? dataDirOf(options)} ships to no archive`,
      "start it with --archive DIR or s3://BUCKET/PREFIX, or name an archive",
    );
  return archive;
}

/** Names of the members, as far as a node runs here. */
export async function nodeNames(options: Options): Promise<ReadonlyMap<string, string>> {
  try {
    const client = new NodeClient(dataDirOf(options));
    const members = await client.request<readonly MemberStatus[]>("GET", "/api/v1/members");
    return new Map(members.map(({ peerId, name }) => [peerId, name]));
  } catch {
    return new Map();
  }
}
