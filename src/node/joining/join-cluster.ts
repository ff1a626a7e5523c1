/**
 * Joins a cluster: the node asks the peers, is admitted as a learner, receives the replica, and builds or checks the
 * application's file.
 */
import { isReaderIn } from "../../replication/own-facts.ts";
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { nextTurn, sleep } from "../../base/clock.ts";
import { errorMessage, isDiskFull, UserError } from "../../base/errors.ts";
import { settingOf } from "../../change/per-table.ts";
import { install, readCaptured, readMeta, uninstall } from "../../capture/install.ts";
import { createLog } from "../../log-store/log-file.ts";
import { installSnapshot, prepareSnapshot } from "../../replica/copies/install-snapshot.ts";
import { buildAppDb, fillAppDb, isEmptyAppDb } from "../../replica/copies/build-app-db.ts";
import { compareRows } from "../../replica/copies/compare-rows.ts";
import { reserveIds } from "../../reflect/id-blocks.ts";
import { publish, removeDatabase } from "../../replica/copies/database-files.ts";
import { readLocal } from "../../replica/store/local.ts";
import { readPositions } from "../../replica/store/positions.ts";
import { readObjectsOf, readShapes } from "../../replica/store/schema-store.ts";
import { readSettings } from "../../replica/store/settings.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import { isSelected } from "../../schema/selection.ts";
import { foldName } from "../../base/names.ts";
import type { GroupConfiguration, PeerId } from "../../shard/seams.ts";
import { type Slot, slotOf } from "../../shard/slots.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";
import { encodeControl } from "../../replication/messages/control-messages.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { fetchReplica } from "../../replication/snapshots/fetch-replica.ts";
import { NoRoomError, roomOf } from "../../snapshot/stream.ts";
import { partialCopy } from "../../snapshot/partial.ts";
import { orderedIds } from "../startup/ordered-ids.ts";
import { untilRoom } from "../startup/disk-full.ts";
import { withdraw } from "./withdraw.ts";
import type { OnProgress } from "../../replication/machine/work-progress.ts";
import { type Admission, type AskComponents, type AskOptions, askToJoin } from "./ask-to-join.ts";

/** Pause before the next attempt to receive the replica. */
const AGAIN_MS = 300;
/** Pause between two looks at a disk that is too small. */
const ROOM_MS = 1000;
/** An interrupted transfer is continued from the same peer, if that is connected within this time. */
const DONOR_MS = 5000;
/** Differences named if the file of a joining node differs from the data of the cluster. */
const DIFFERENCES_NAMED = 10;

export interface JoinOptions extends AskOptions {
  readonly paths: DataPaths;
  /** Throws `UserError` where this node contradicts the cluster whose replica it has received. */
  readonly checkReceived?: () => void;
}

export interface JoinComponents extends AskComponents {
  readonly onProgress: OnProgress;
}

/**
 * Resolves when the data directory has a replica and a log, and the file exists and is captured. "form": nothing was
 * written, and this node forms the cluster that the others join.
 */
export async function joinCluster(
  options: JoinOptions,
  components: JoinComponents,
): Promise<"joined" | "form"> {
  const { paths, peerId } = options;
  const { logger, clock, signal } = components;
  let place: Slot | null = null;
  let isReader = false;
  let isAdmittedNow = false;
  if (!existsSync(paths.replica))
    for (;;) {
      signal.throwIfAborted();
      const admission = await askToJoin(options, components);
      if (admission === "form") return "form";
      place = admission.place;
      isReader = admission.isReader;
      isAdmittedNow = true;
      try {
        await receiveReplica(admission, options, components);
        break;
      } catch (error) {
        if (error instanceof UserError) throw error;
        signal.throwIfAborted();
        if (isDiskFull(error) || error instanceof NoRoomError) {
          await untilRoomAgain(error, options, components);
          continue;
        }
        components.onPhase(
          `joining: the transfer of the replica was interrupted: ${errorMessage(error)}; it will be continued`,
        );
        logger.warn("the transfer of the replica was interrupted; it will be continued", {
          error: errorMessage(error),
        });
        await sleep(clock, AGAIN_MS);
      }
    }
  try {
    options.checkReceived?.();
    await prepareWithRoom(options, components, {
      place: place ?? slotFrom(paths, peerId),
      isReader: isReader || isReaderIn(receivedConfiguration(paths)?.members ?? [], peerId) === true,
    });
  } catch (error) {
    const known = receivedConfiguration(paths)?.members.find((m) => m.peerId === peerId)?.admission;
    const admission = isAdmittedNow ? components.router.nonce : known;
    if (!(error instanceof UserError) || admission === undefined) throw error;
    const isDone = await withdraw(admission, paths, components);
    if (!isDone) logger.warn("this node is still a member; remove it with marmot members remove");
    throw error;
  }
  return "joined";
}

/** Says that the disk is full, and waits. The received part stays. */
async function untilRoomAgain(
  error: unknown,
  { db, paths }: JoinOptions,
  { clock, logger, signal, onPhase, onProgress }: JoinComponents,
): Promise<void> {
  const reason = errorMessage(error);
  onProgress(null);
  onPhase(`joining: the disk is full: waiting for room (${reason})`);
  logger.event("disk", "the disk is full; this node waits for room", { error: reason }, "error");
  await untilRoom({ db, paths }, { clock, signal }, () => {});
  if (error instanceof NoRoomError)
    for (; roomOf(error.folder) < error.bytes; signal.throwIfAborted()) await sleep(clock, ROOM_MS);
  logger.event("disk", "there is room again; going on");
}

/** As often as the disk is full. */
async function prepareWithRoom(
  options: JoinOptions,
  components: JoinComponents,
  own: { readonly place: Slot | null; readonly isReader: boolean },
): Promise<void> {
  for (;;)
    try {
      components.onPhase("joining: preparing the file");
      components.onProgress(null);
      return await prepareAppDb(options, components, own);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      await untilRoomAgain(error, options, components);
    }
}

/** The peer whose copy is here in part, if it is connected again within a while. The id of a copy begins with its nonce. */
async function lastDonor(
  target: string,
  { transport, router, clock }: JoinComponents,
): Promise<PeerId | null> {
  const copy = partialCopy(target);
  if (copy === null) return null;
  for (const end = clock.now() + DONOR_MS; ; await sleep(clock, AGAIN_MS)) {
    const donor = transport.connected().find((peer) => {
      const { nonce = "", clusterId = "" } = router.hellos.get(peer) ?? {};
      return nonce !== "" && clusterId !== "" && copy.startsWith(`${nonce}-`);
    });
    if (donor !== undefined) return donor;
    if (clock.now() > end) return null;
  }
}

async function receiveReplica(
  { by: admittedBy, clusterId, member }: Admission,
  { paths, peerId, db }: JoinOptions,
  components: JoinComponents,
): Promise<void> {
  const { transport, router, signal, onPhase } = components;
  const target = paths.joiningReplica;
  const by = (await lastDonor(target, components)) ?? admittedBy;
  onPhase(`joining: receiving the replica from ${router.hellos.get(by)?.name ?? by}`);
  const header = await fetchReplica(by, target, components, signal);
  const { members } = header.configurations[0]!;
  // A transfer that was continued after a restart has a copy from before the new admission: the log goes on from there.
  const isContinued = (header.from ?? 0) > 0;
  if (!isContinued && members.every((m) => m.peerId !== peerId || m.id !== member))
    throw new Error("the received replica is older than the admission of this node");
  for (const peer of transport.connected())
    transport.send(peer, encodeControl({ kind: "received" }), "urgent");
  onPhase("joining: installing the received replica");
  const identity = { clusterId: prepareSnapshot(target, clusterId, peerId, header).clusterId, peerId };
  removeDatabase(paths.joiningLog);
  const starts = header.positions.map((p, shard) => {
    const configuration = header.configurations[shard]!;
    return { snapshot: { ...p, configuration: configuration.configuration }, configuration };
  });
  createLog(paths.joiningLog, identity, starts, member);
  await installSnapshot({
    ...{ replica: paths.replica, received: target, peerId, appDb: db },
    onProgress: () => {},
  });
  publish(paths.joiningLog, paths.log);
}

/** Builds the application's file from the replica, or requires an existing file to equal it, and captures it. */
async function prepareAppDb(
  options: JoinOptions,
  { onProgress, logger }: JoinComponents,
  { place, isReader }: { readonly place: Slot | null; readonly isReader: boolean },
): Promise<void> {
  const { db: file, paths, peerId } = options;
  const exists = existsSync(file);
  if (!exists || isEmptyAppDb(file, paths.replica)) {
    const build = exists ? fillAppDb : buildAppDb;
    await build({
      replica: paths.replica,
      appDb: file,
      prepare: (fresh, settings, shapes, position) => {
        install(fresh, shapes, {
          clusterId: settings.clusterId,
          peerId,
          schemaVersion: settings.schemaVersion,
          position,
          usedIds: orderedIds(paths, peerId),
          ...{ isReader, isWithin: exists },
        });
      },
      finish: (fresh, settings, shapes) =>
        reserveIds(fresh, shapes, (table) => settingOf(settings.idBlock, table), place),
      onProgress: (done) =>
        onProgress({ work: "building the file", done, total: 0, unit: "rows", remainingMs: null }),
    });
    onProgress(null);
    return;
  }
  const appDb = openAppDb(file, { timeout: LOCKED_MS });
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
    reserveIds(appDb, shapes, (table) => settingOf(settings.idBlock, table), place);
    install(appDb, shapes, {
      clusterId: settings.clusterId,
      peerId,
      schemaVersion: settings.schemaVersion,
      position: readPositions(replica),
      usedIds: orderedIds(paths, peerId),
      isReader,
    });
  } finally {
    appDb.close();
    replica.close();
  }
}

/** The slot of this node's id blocks, from the configuration that came with the replica; null: unknown. */
export function slotFrom(paths: DataPaths, peerId: PeerId): Slot | null {
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
  const { selection } = readSettings(replica, paths.replica);
  const { objects } = readCatalogue(queryOf(appDb));
  const chosen = isSelected(selection);
  const left = new Set(
    [...objects, ...readObjectsOf(replica)].flatMap((o) =>
      o.kind === "table" && !chosen(o.name) ? [foldName(o.name)] : [],
    ),
  );
  const compared = <T extends { tableName: string }>(all: readonly T[]): T[] =>
    all.filter((o) => !left.has(foldName(o.tableName)));
  if (text(compared(objects)) !== text(compared(readObjectsOf(replica))))
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
