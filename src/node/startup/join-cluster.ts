/**
 * Joins a cluster: the node asks the peers, is admitted as a learner, receives the replica, and builds or checks the
 * application's file.
 */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { type Clock, nextTurn, sleep } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { settingOf } from "../../change/per-table.ts";
import { install, readCaptured, readMeta, uninstall } from "../../capture/install.ts";
import { createLog } from "../../log-store/log-file.ts";
import { installSnapshot, prepareSnapshot } from "../../replica/copies/install-snapshot.ts";
import { buildAppDb } from "../../replica/copies/build-app-db.ts";
import { compareRows } from "../../replica/copies/compare-rows.ts";
import { reserveIds } from "../../reflect/id-blocks.ts";
import { publish, removeDatabase } from "../../replica/copies/database-files.ts";
import { readLocal } from "../../replica/store/local.ts";
import { readPositions } from "../../replica/store/positions.ts";
import { readObjectsOf, readShapes } from "../../replica/store/schema-store.ts";
import { readSettings } from "../../replica/store/settings.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import type { GroupConfiguration, PeerId, Transport } from "../../shard/seams.ts";
import { type Slot, slotOf } from "../../shard/slots.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { queryOf } from "../../sqlite/query.ts";
import { isNameTaken } from "../../replication/member-changes.ts";
import { type Control, encodeControl } from "../../replication/messages/control-messages.ts";
import type { DataPaths } from "../../replication/data-paths.ts";
import { fetchReplica } from "../../replication/fetch-replica.ts";
import type { MessageRouter, Stage } from "../../replication/messages/message-router.ts";
import type { OnProgress } from "../../replication/work-progress.ts";
import { withdraw } from "./withdraw.ts";

/** Milliseconds between two requests to all connected peers; shorter for the first ones, since the next request is answered with the admission. */
const ASK_MS = 300;
const ASK_SOON_MS = 40;
const ASKED_SOON = 10;
/** The name of this node is refused for this long before it gives up. */
const NAME_TAKEN_MS = 8000;
/** Differences named if the file of a joining node differs from the data of the cluster. */
const DIFFERENCES_NAMED = 10;

export interface JoinOptions {
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  readonly name: string;
  readonly role: "voter" | "learner";
}

export interface JoinComponents {
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

interface Admission {
  readonly member: number;
  readonly clusterId: string;
  readonly by: PeerId;
}

/** Resolves when the data directory has a replica and a log, and the file exists and is captured. */
export async function joinCluster(options: JoinOptions, components: JoinComponents): Promise<void> {
  const { paths, peerId } = options;
  const { logger, clock, signal } = components;
  if (!existsSync(paths.replica))
    for (;;) {
      signal.throwIfAborted();
      const admission = await askToJoin(options, components);
      try {
        const received = `${paths.incoming}/replica.db`;
        const header = await fetchReplica(admission.by, received, components, signal);
        const settings = prepareSnapshot(received, admission.clusterId, peerId, header);
        const { members } = header.configurations[0]!;
        if (!members.some((m) => m.peerId === peerId && m.id === admission.member))
          throw new Error("the received replica is older than the admission of this node");
        removeDatabase(paths.joiningLog);
        createLog(
          paths.joiningLog,
          { clusterId: settings.clusterId, peerId },
          header.positions.map((p, shard) => {
            const configuration = header.configurations[shard]!;
            return { snapshot: { ...p, configuration: configuration.configuration }, configuration };
          }),
        );
        await installSnapshot({
          ...{ replica: paths.replica, received, peerId, appDb: options.db },
          onProgress: () => {},
        });
        publish(paths.joiningLog, paths.log);
        break;
      } catch (error) {
        if (error instanceof UserError) throw error;
        logger.warn("the replica could not be received; trying again", { error: errorMessage(error) });
        await sleep(clock, ASK_MS);
      }
    }
  components.onProgress(null);
  try {
    await prepareAppDb(options, components);
  } catch (error) {
    const admission = receivedConfiguration(paths)?.members.find((m) => m.peerId === peerId)?.admission;
    if (!(error instanceof UserError) || admission === undefined) throw error;
    const isDone = await withdraw(admission, paths, components);
    if (!isDone) logger.warn("this node is still a member; remove it with marmot members remove");
    throw error;
  }
}

async function askToJoin(options: JoinOptions, components: JoinComponents): Promise<Admission> {
  const { transport, router, clock, signal } = components;
  let admission: Admission | null = null;
  let asked = 0;
  let wake = (): void => {};
  /** Since when the name of this node is refused. */
  let takenSince = Number.POSITIVE_INFINITY;
  const stage: Stage = {
    clusterId: "",
    onConnect: () => {
      asked = 0;
      wake();
    },
    onDisconnect: () => {},
    onRaft: () => {}, // a leader may send messages before this node has a replica
    onControl: (by: PeerId, control: Control) => {
      if (control.kind === "refused" && isNameTaken(control.reason))
        takenSince = Math.min(takenSince, clock.now());
      if (control.kind !== "joined") return;
      admission ??= { member: control.member, clusterId: control.clusterId, by };
      wake();
    },
    async *onTransfer() {
      yield* [];
      throw new Error("this node is joining and has no replica");
    },
  };
  router.enter(stage);
  while (admission === null) {
    signal.throwIfAborted();
    // A member that has just died counts as alive for some seconds.
    if (clock.now() - takenSince > NAME_TAKEN_MS)
      throw new UserError(
        `the cluster has a member with the name ${options.name}, and it is alive`,
        "choose another name with --name NAME",
      );
    const { name, role } = options;
    const request = encodeControl({ kind: "join", name, role, nonce: router.nonce });
    for (const peer of transport.connected()) transport.send(peer, request, "urgent");
    const ms = asked++ < ASKED_SOON ? ASK_SOON_MS : ASK_MS;
    await new Promise<void>((resolve) => {
      const timer = clock.after(ms, resolve);
      wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
  return admission;
}

/** Builds the application's file from the replica, or requires an existing file to equal it, and captures it. */
async function prepareAppDb(options: JoinOptions, { onProgress, logger }: JoinComponents): Promise<void> {
  const { db: file, paths, peerId } = options;
  if (!existsSync(file)) {
    await buildAppDb({
      replica: paths.replica,
      appDb: file,
      prepare: (fresh, settings, shapes, position) => {
        install(fresh, shapes, {
          clusterId: settings.clusterId,
          peerId,
          schemaVersion: settings.schemaVersion,
          position,
        });
        reserveIds(fresh, shapes, (table) => settingOf(settings.idBlock, table), slotFrom(paths, peerId));
      },
      onProgress: (done) =>
        onProgress({ work: "building the file", done, total: 0, unit: "rows", remainingMs: null }),
    });
    onProgress(null);
    return;
  }
  const appDb = openDatabase(file, { timeout: LOCKED_MS });
  const replica = openDatabase(paths.replica, { readOnly: true });
  try {
    const meta = readMeta(appDb, file);
    if (meta !== null && meta.peerId === peerId && readCaptured(appDb) !== null) return;
    logger.info("comparing the file with the data of the cluster", { file });
    await requireEqual(appDb, replica, file, paths);
    if (meta !== null) uninstall(appDb); // the file is a copy of another node's file
    appDb.exec("PRAGMA journal_mode = WAL");
    const settings = readSettings(replica, paths.replica);
    const shapes = readShapes(replica);
    reserveIds(appDb, shapes, (table) => settingOf(settings.idBlock, table), slotFrom(paths, peerId));
    install(appDb, shapes, {
      clusterId: settings.clusterId,
      peerId,
      schemaVersion: settings.schemaVersion,
      position: readPositions(replica),
    });
  } finally {
    appDb.close();
    replica.close();
  }
}

/** The slot of this node's id blocks, from the configuration that came with the replica; null: unknown. */
function slotFrom(paths: DataPaths, peerId: PeerId): Slot | null {
  const configuration = receivedConfiguration(paths);
  return configuration === null ? null : slotOf(configuration.members, peerId);
}

/** The configuration of group 0 that came with the replica. */
function receivedConfiguration(paths: DataPaths): GroupConfiguration | null {
  const replica = openDatabase(paths.replica, { readOnly: true });
  try {
    const [configuration] = JSON.parse(readLocal(replica, "configurations") ?? "[]") as GroupConfiguration[];
    return configuration ?? null;
  } finally {
    replica.close();
  }
}

/** Throws `UserError` for a file whose schema or rows differ from the replica. Writes nothing. */
async function requireEqual(
  appDb: DatabaseSync,
  replica: DatabaseSync,
  file: string,
  paths: DataPaths,
): Promise<void> {
  const hint =
    `move ${file} to another place to receive the cluster's data, or, if this file is the right one, form a cluster ` +
    `with it (without --peers) and let the others join that; in either case remove ${paths.folder} first`;
  const text = (objects: readonly { kind: string; name: string; sql: string }[]): string =>
    JSON.stringify(
      objects.map((o) => [o.kind, o.name, o.sql]).sort((a, b) => String(a).localeCompare(String(b))),
    );
  const { objects } = readCatalogue(queryOf(appDb));
  if (text(objects) !== text(readObjectsOf(replica)))
    throw new UserError(`${file} has another schema than the cluster it joins; nothing was changed`, hint);
  const differences: string[] = [];
  appDb.exec("BEGIN");
  try {
    await compareRows({
      left: appDb,
      right: replica,
      shapes: readShapes(replica),
      encoding: readSettings(replica, paths.replica).encoding,
      onDifference: ({ table, keyId }) =>
        differences.push(`${table.name} ${String(keyId)}`) < DIFFERENCES_NAMED,
      pause: nextTurn,
    });
  } finally {
    appDb.exec("COMMIT");
  }
  if (differences.length > 0)
    throw new UserError(
      `${file} holds other data than the cluster it joins (first differences: ${differences.join(", ")}); nothing was changed`,
      hint,
    );
}
