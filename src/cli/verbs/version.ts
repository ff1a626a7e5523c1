/** `marmot version`. */
import { DatabaseSync } from "node:sqlite";
import { COMMIT, LIBP2P_VERSION, VERSION } from "../../base/version.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { CONFIG_OPTION, flag, JSON_OPTION, type Verb } from "../verb.ts";

export interface VersionDocument {
  readonly marmot: string;
  readonly commit: string;
  readonly bun: string;
  readonly sqlite: string;
  readonly libp2p: string;
}

function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const db = new DatabaseSync(":memory:");
  const { v } = db.prepare("SELECT sqlite_version() AS v").get() as { v: string };
  db.close();
  const versions: VersionDocument = {
    marmot: VERSION,
    commit: COMMIT,
    bun: Bun.version,
    sqlite: v,
    libp2p: LIBP2P_VERSION,
  };
  context.print(
    flag(options, "json")
      ? JSON.stringify(versions)
      : `marmot ${VERSION} (commit ${COMMIT}), Bun ${Bun.version}, SQLite ${v}, libp2p ${LIBP2P_VERSION}`,
  );
  return Promise.resolve(0);
}

export const versionVerb: Verb = {
  name: "version",
  summary: "Prints the versions of Marmot, Bun, SQLite and libp2p.",
  usage: "version [--json]",
  options: [JSON_OPTION, CONFIG_OPTION],
  example: "marmot version --json",
  run,
};
