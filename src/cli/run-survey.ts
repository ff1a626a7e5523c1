/**
 * Checks the file, the key and the ports that the options of `marmot run` name, before anything is written. All problems
 * are shown at once. The node itself checks the rest when it starts.
 */
import { existsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, resolve } from "node:path";
import { errorMessage, UserError } from "../base/errors.ts";
import type { NodeOptions } from "../node/options.ts";
import { NodeClient } from "./client.ts";
import { readTokenFile } from "./options/admin-token.ts";
import { parseMultiaddr } from "./options/multiaddr.ts";
import type { Problem } from "./output/problem.ts";
import type { RunSettings } from "./run-options.ts";

/** A running node on this machine answers within this time. */
const ANSWER_MS = 1000;

export async function survey({ node, admin, tokenFile }: RunSettings): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const tryTo = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problems.push({ message: error.message, hint: error.hint });
    }
  };
  if (node.db !== "" && (await new NodeClient(node.dataDir).answers(ANSWER_MS))) {
    // Its ports are taken by that node, so they are no further problem.
    const hint = `stop it first; marmot status --data-dir ${node.dataDir} shows it`;
    return [{ message: `another marmot runs on ${node.dataDir}`, hint }];
  }
  const [
    data,
    { hasReplica, requireDatabase },
    { accessProblems },
    { fileSystemProblems },
    keys,
    { groupId },
  ] = await Promise.all([
    import("../node/data-dir.ts"),
    import("../node/startup/check-files.ts"),
    import("../node/startup/file-access.ts"),
    import("../node/startup/file-systems.ts"),
    import("../node/keys.ts"),
    import("../node/startup/unix-group.ts"),
  ]);
  const isMember = node.db !== "" && hasReplica(node.dataDir);
  const meetsOthers = node.peers.length > 0 || (node.db !== "" && data.knowsPeersIn(node.dataDir));
  const isReceived = meetsOthers || node.create || (node.bootstrapExpect ?? 1) > 1;
  if (node.db !== "") {
    const missing = folders(node);
    problems.push(...missing, ...accessProblems(node.db, node.dataDir));
    if (node.unsafeFileSystem !== true) problems.push(...fileSystemProblems(node.db, node.dataDir));
    if (problems.length === 0 && (existsSync(node.db) || !(isReceived || isMember)))
      tryTo(() => requireDatabase(node.db, isMember));
  }
  tryTo(() => {
    if (node.clusterKeyText !== null) keys.parseClusterKeys(node.clusterKeyText, "MARMOT_CLUSTER_KEY");
    else if (node.clusterKeyFile !== null) keys.readClusterKeys(node.clusterKeyFile);
  });
  if (typeof node.admit === "string") {
    const { readAdmitted } = await import("../replication/members/admitted-peers.ts");
    tryTo(() => void readAdmitted(node.admit!));
  }
  if ((node.role === "learner" || node.role === "reader") && !meetsOthers && !isMember && node.db !== "")
    problems.push({
      message: `--role ${node.role} has no vote, and without --peers this would be the first node of a new cluster`,
      hint: "give --peers to join a cluster, or leave out --role",
    });
  if (tokenFile !== null) tryTo(() => void readTokenFile(tokenFile));
  if (node.group !== null && groupId(node.group) === null)
    problems.push({
      message: `--group ${node.group} is no group of this machine`,
      hint: `choose one of those that "getent group" lists, or make it with: groupadd ${node.group}`,
    });
  for (const address of node.listen) {
    const found = parseMultiaddr(address);
    if (found === null) continue;
    const obstacle = await cannotListen(found.host, found.port);
    if (obstacle !== null)
      problems.push({
        message: `Cannot listen for peers on ${address}: ${obstacle}`,
        hint: "choose a free address with --listen, such as /ip4/0.0.0.0/tcp/8161; port 0 picks one",
      });
  }
  if (admin !== null) {
    const obstacle = await cannotListen(admin.host, admin.port);
    if (obstacle !== null)
      problems.push({
        message: `Cannot listen for the admin API on ${admin.host}:${admin.port}: ${obstacle}`,
        hint: "choose a free port with --admin HOST:PORT (port 0 picks one), or --admin off",
      });
  }
  return problems;
}

/** Problems with the folders of the file and of the data directory. */
function folders({ db, dataDir }: NodeOptions): Problem[] {
  const problems: Problem[] = [];
  const parents = new Set([dirname(resolve(db)), dirname(resolve(dataDir))]);
  for (const parent of parents)
    if (statSync(parent, { throwIfNoEntry: false })?.isDirectory() !== true)
      problems.push({
        message: `${parent} should be a folder, but ${existsSync(parent) ? "is not one" : "does not exist"}`,
        hint: "create it, or correct --db and --data-dir",
      });
  const own = statSync(dataDir, { throwIfNoEntry: false });
  if (own !== undefined && !own.isDirectory())
    problems.push({
      message: `--data-dir should be a folder for Marmot alone, but ${dataDir} is a file`,
      hint: "choose another with --data-dir DIR",
    });
  return problems;
}

/** The reason why this process cannot listen there; null: it can, or the port is 0. */
function cannotListen(host: string, port: number): Promise<string | null> {
  if (port === 0) return Promise.resolve(null);
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: Error & { code?: string }) =>
      resolve(error.code === "EADDRINUSE" ? "another program listens there" : errorMessage(error)),
    );
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}
