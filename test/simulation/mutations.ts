/**
 * Deliberate bugs: each breaks one rule of the protocol. scripts/mutations.ts applies each to a copy of the tree and
 * runs seeds until one fails. A bug that no seed finds shows a gap in the simulator.
 */

export interface Edit {
  /** Under src/. */
  readonly file: string;
  /** Must occur exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** Seeds from 1 within which it must be caught. */
  readonly within: number;
  /** The seeds have a table without a declared key. */
  readonly keyless?: boolean;
  /** The seeds have emptied change logs. */
  readonly custody?: boolean;
  /** The seeds have schemas of the generator's. */
  readonly generated?: boolean;
  /**
   * Caught by this test instead: the rule lies outside of the simulated host, or whole nodes do not reach its case.
   */
  readonly test?: string;
}

export const one = (name: string, within: number, file: string, find: string, replace: string): Mutation => ({
  name,
  within,
  edits: [{ file, find, replace }],
});

/** Mutations of one edit that this test catches. */
const caughtBy =
  (test: string) =>
  (name: string, file: string, find: string, replace: string): Mutation => ({
    ...one(name, 0, file, find, replace),
    test,
  });

/** Caught by the seeds of machines that are rolled back, run twice, or lose the end of their log. */
const ofMachines = caughtBy("test/simulation/machines.test.ts");
/** Caught by the seeds of files that are changed from outside. */
const ofFiles = caughtBy("test/simulation/files.test.ts");
/** Caught by the seeds of clusters that lose members for good. */
const ofRecoveries = caughtBy("test/simulation/recoveries.test.ts");
/** Caught by the seeds of a member with changed code. */
const ofHostiles = caughtBy("test/simulation/hostile.test.ts");
/** Caught by the seeds of rolling upgrades. */
const ofUpgrades = caughtBy("test/simulation/upgrades.test.ts");
/** Caught by the seeds of nodes that ship to an archive. */
const ofArchives = caughtBy("test/simulation/archive.test.ts");
/** Caught by two nodes that merge the links of an archive. */
const ofMerging = caughtBy("test/archive/merging.test.ts");

/** Under generated schemas, and without the self-test of the connection before its first use. */
const unproven = (mutation: Mutation): Mutation => ({
  ...mutation,
  generated: true,
  edits: [
    ...mutation.edits,
    { file: "reflect/app-db-connection.ts", find: "if (!proven) selfTest();", replace: "" },
  ],
});

export const MUTATIONS: readonly Mutation[] = [
  // ---------------------------------------------------------------------------------------- the order
  one(
    "votes and acknowledgements leave before they are synced",
    5,
    "shard/runtime.ts",
    "outgoing(group, ready?.messages)",
    "outgoing(group, [...(ready?.messages ?? []), ...(ready?.messagesAfterPersist ?? [])])",
  ),
  {
    ...one(
      "an entry of an older term is committed by counting",
      0,
      "raft/replication/replication.ts",
      "if (index <= core.log.commit || !core.log.matches(index, core.term)) return false;",
      "if (index <= core.log.commit) return false;",
    ),
    // Whole nodes send the first entry of a new leader together with the earlier ones. The simulation of groups
    // splits them.
    test: "test/raft/simulation.test.ts",
  },
  one(
    "a second vote in one term",
    400,
    "raft/election/election.ts",
    "    (core.vote === 0 && core.leader === 0) ||",
    "    core.leader === 0 ||",
  ),
  one(
    "a vote for a candidate whose log is behind",
    400,
    "raft/election/election.ts",
    "if (!mayVote || !core.log.isUpToDate(message.logTerm, message.index)) {",
    "if (!mayVote) {",
  ),
  {
    ...one(
      "a follower campaigns against a busy leader",
      0,
      "raft/tick.ts",
      "core.promotable && !core.busy.has(core.leader)",
      "core.promotable",
    ),
    test: "test/raft/election/busy-members.test.ts",
  },
  {
    ...one(
      "a busy member is never heard from again, and keeps its leader",
      0,
      "raft/tick.ts",
      "else core.busy.delete(member);",
      "",
    ),
    test: "test/raft/election/busy-members.test.ts",
  },
  {
    ...one(
      "a changed byte of a record is not noticed",
      0,
      "transport/libp2p/noise.ts",
      "  decipher.final();\n",
      "",
    ),
    test: "test/transport/encryption.test.ts",
  },
  {
    ...one(
      "the private network's cipher ends one message early on the receiving side",
      0,
      "transport/libp2p/until-handshake.ts",
      "new MessageCounter(MESSAGES[other], 0)",
      "new MessageCounter(1, 0)",
    ),
    test: "test/transport/encryption.test.ts",
  },
  {
    name: "the suffix that differs is not discarded on disk",
    within: 0,
    test: "test/log-store/sqlite-log-store.test.ts",
    edits: [
      {
        file: "log-store/sqlite-log-store.ts",
        find: 'put: db.prepare("INSERT INTO entry VALUES(?, ?, ?, ?, ?)"),',
        replace: 'put: db.prepare("INSERT OR IGNORE INTO entry VALUES(?, ?, ?, ?, ?)"),',
      },
      {
        file: "log-store/sqlite-log-store.ts",
        find: "if (first <= state.lastIndex) this.#statements.cut.run(base + first, base + SHARD_SPAN);",
        replace: "",
      },
    ],
  },
  {
    name: "a stale tail of the log comes back at restart",
    within: 400,
    edits: [
      {
        file: "log-store/group-state.ts",
        find: "      lastIndex: row.last_index,\n      cache: new EntryCache(row.last_index + 1, rows.length),",
        replace:
          "      lastIndex: Number(db.prepare(`SELECT coalesce(max(id), ${shard * SHARD_SPAN}) - ${shard * SHARD_SPAN} FROM entry WHERE id < ${(shard + 1) * SHARD_SPAN}`).values()[0]![0]),\n      cache: new EntryCache(Number.MAX_SAFE_INTEGER, rows.length),",
      },
      {
        file: "log-store/sqlite-log-store.ts",
        find: "if (first <= state.lastIndex) this.#statements.cut.run(base + first, base + SHARD_SPAN);",
        replace:
          "if (first <= state.lastIndex) this.#statements.cut.run(base + first, base + entries.at(-1)!.index + 1);",
      },
    ],
  },
  one(
    "a heartbeat carries the commit index of the leader, also beyond the log of the follower",
    400,
    "raft/replication/replication.ts",
    "export function handleHeartbeatResponse(core: Core, message: Message): void {",
    "export function handleHeartbeatResponse(core: Core, message: Message): void {\n  core.progress.get(message.from)?.acknowledge(core.log.lastIndex);",
  ),
  one(
    "a node that was cut off is ready without a new confirmed commit index",
    400,
    "shard/confirmed-commit.ts",
    "    this.#index = null;\n    this.#pending = null;",
    "    this.#pending = null;",
  ),
  one(
    "the log is compacted beyond the synced position of the replica",
    400,
    "replication/event-loop.ts",
    "return this.#synced[shard] ?? 0;",
    "return this.#components.replica.replica.position(shard);",
  ),
  one(
    "the replica counts as synced without a checkpoint",
    300,
    "replica/open-replica.ts",
    'const row = open.prepare("PRAGMA wal_checkpoint(PASSIVE)").get();',
    "const row = { busy: 0, log: 0, checkpointed: 0 };",
  ),
  // ---------------------------------------------------------------------------------------- taking
  one(
    "a changeset is accepted without a check of the previous one",
    200,
    "replica/order/accept-batch.ts",
    'if (memory.ended || batch.previousCsn !== memory.csn || batch.csn <= memory.csn) return "ignore";',
    'if (memory.ended) return "ignore";',
  ),
  {
    ...one(
      "a batch of an older incarnation is accepted",
      0,
      "replica/order/accept-batch.ts",
      'if (batch.incarnation < memory.incarnation) return "ignore";',
      'if (batch.incarnation < memory.incarnation) return "take";',
    ),
    test: "test/replica/orders.test.ts",
  },
  one(
    "a new incarnation drains without a fence",
    400,
    "capture/outbox.ts",
    "      opened: false,",
    "      opened: true,",
  ),
  one(
    "incarnations are not remembered",
    400,
    "log-store/sqlite-log-store.ts",
    "const next = Math.max(last, atLeast) + 1;",
    "const next = Math.max(last - last, atLeast) + 1;",
  ),
  one(
    "log rows are acknowledged when proposed, not when ordered",
    100,
    "capture/outbox.ts",
    "          sent.proposedAt = now;\n        }\n        ahead += sent.size;\n      }\n",
    "          sent.proposedAt = now;\n        }\n        ahead += sent.size;\n      }\n      const s = chain.sent[0];\n      if (s && s.drain !== null && s.proposedAt !== null) this.#take(chain, s.csn, s.part);\n",
  ),
  one(
    "a lost proposal is not proposed again",
    200,
    "capture/outbox.ts",
    "if (at === null || now - at <= patienceOf(chain)) return;",
    "if (at === null || now >= 0) return;",
  ),
  one(
    "an acknowledgement goes one id too far",
    100,
    "capture/outbox.ts",
    "this.#session.cursors.order(drain.upTo, drain.looked);",
    "this.#session.cursors.order(drain.upTo.map((w) => ({ ...w, upTo: w.upTo + 1 })), drain.looked);",
  ),
  one(
    "a row outside of the changeset keeps a UNIQUE value that it lost",
    100,
    "replica/apply/row-applier.ts",
    "for (const key of access.clashes(image)) this.#evict(access, key, evictor, context);",
    "for (const key of access.clashes(image).slice(1)) this.#evict(access, key, evictor, context);",
  ),
  one(
    "an evicted row leaves its hash in the checksum",
    20,
    "replica/apply/row-applier.ts",
    "    checksums.replace(shape.id, this.#home(shape.id, keyId, context), bytes, null);\n",
    "",
  ),
  one(
    "a concurrent write is not journalled",
    60,
    "replica/apply/row-applier.ts",
    "if (lost !== null && (bytes.before !== null || bytes.after !== null))",
    "if (lost !== null && bytes.before === bytes.after)",
  ),
  {
    ...one(
      "a set of rows drops those that clash where the table declares IGNORE",
      0,
      "rows/row-access.ts",
      'sql.replace("INSERT", "INSERT OR ABORT")',
      "sql",
    ),
    test: "test/replica/apply/row-sets.test.ts",
  },
  {
    ...one(
      "a set of rows that SQLite refuses is not written one by one",
      0,
      "replica/apply/row-sets.ts",
      "else for (const { row, before } of set) table.writeOne(row, before);",
      "",
    ),
    test: "test/replica/apply/row-sets.test.ts",
  },
  {
    ...one(
      "a deleted row above the highest row counts as never written",
      0,
      "replica/apply/row-sets.ts",
      "return Math.max(access.highest(), this.#components.keyPositions.highest(shape.id));",
      "return access.highest();",
    ),
    test: "test/replica/apply/row-sets.test.ts",
  },
  {
    ...one(
      "a key that comes twice in a changeset is written in one slice",
      0,
      "replica/apply/row-sets.ts",
      "if (seen.has(keyId)) return i;",
      "",
    ),
    test: "test/replica/apply/row-sets.test.ts",
  },
  {
    ...one(
      "rows of other shards count in the checksum of shard 0",
      0,
      "replica/apply/row-sets.ts",
      "if (context.shard !== 0 || this.#components.settings.shards === 1)",
      "if (this.#components.settings.shards > 0)",
    ),
    test: "test/replica/apply/row-sets.test.ts",
  },
  {
    ...one(
      "a set of rows replaces rows that no trigger saw",
      0,
      "reflect/row-reflector.ts",
      "if (holdBack.tables.size > 0 || unseen.size > 0) return false;",
      "if (holdBack.tables.size > 0) return false;",
    ),
    test: "test/node/unseen.test.ts",
  },
  one(
    "a set of rows overwrites unacknowledged rows of the application",
    60,
    "reflect/row-reflector.ts",
    "return !pending.has(id, keyId) && withheld.get(id, keyId) === undefined;",
    "return withheld.get(id, keyId) === undefined;",
  ),
  one(
    "the journal assumes a base position after the real one",
    200,
    "replica/apply/changeset.ts",
    "return covers(base, write) ? null : write;",
    "return write.index <= (base?.[write.shard] ?? 0) + 8 ? null : write;",
  ),
  // ---------------------------------------------------------------------------------------- several shards
  one(
    "two shard logs are active at once",
    400,
    "capture/active-shard-log.ts",
    "if (this.#inUse !== null && this.#inUse !== 0 && shard !== this.#inUse) return false;",
    "",
  ),
  one(
    "shard 0 does not wait for markers",
    400,
    "replica/order/delivery-rule.ts",
    "return shard !== 0 || unmarked(entry, view).length === 0;",
    "return shard !== 0 || unmarked(entry, view).length < 99;",
  ),
  one(
    "a marker does not wait for shard 0",
    400,
    "replica/order/delivery-rule.ts",
    "if (shard !== 0 && entry.marker !== null) return view.position(0) >= entry.marker;",
    "if (shard !== 0 && entry.marker !== null) return true;",
  ),
  {
    ...one(
      "a marker is proposed once",
      0,
      "replication/pipeline/marker-proposer.ts",
      "if (proposed >= wanted && now - proposedAt < PROPOSE_AGAIN_MS) return;",
      "if (proposed >= wanted && now >= proposedAt) return;",
    ),
    test: "test/replication/marker-proposer.test.ts",
  },
  {
    ...one(
      "causes are not waited for",
      0,
      "replica/order/delivery-rule.ts",
      "if (entry.after.some((index, at) => view.position(at) < index)) return false;",
      "",
    ),
    // Three nodes and two shards, of which one is late: whole nodes come to it once in a thousand seeds.
    test: "test/node/whole.test.ts",
  },
  // ---------------------------------------------------------------------------------------- the WAL of the app database
  {
    ...one(
      "connections to the app database checkpoint by themselves",
      0,
      "sqlite/open-app-db.ts",
      "PRAGMA wal_autocheckpoint = 0",
      "PRAGMA wal_autocheckpoint = 1000",
    ),
    test: "test/sqlite/open-app-db.test.ts",
  },
  {
    ...one(
      "a commit restarts the WAL of the app database",
      0,
      "sqlite/open-app-db.ts",
      "return frames > 0 && frames === backfilled;",
      "return frames > 0 && frames < backfilled;",
    ),
    test: "test/sqlite/open-app-db.test.ts",
  },
  {
    ...one(
      "the WAL is checkpointed between two commits of the application",
      0,
      "app-db/wal-upkeep.ts",
      "const QUIET_MS = 1000;",
      "const QUIET_MS = 0;",
    ),
    test: "test/app-db/wal-upkeep.test.ts",
  },
  // ---------------------------------------------------------------------------------------- capture and drain
  one(
    "the app database is not synced before its changes are sent",
    400,
    "replication/pipeline/drain-task.ts",
    "if (sink.found() > 0) syncAppDb();",
    "if (sink.found() > 1e9) syncAppDb();",
  ),
  {
    ...one(
      "an application that writes without a pause holds up its acknowledgements",
      0,
      "replication/pipeline/pipeline.ts",
      "const first = !this.#sentFirst && !this.reflecting",
      "const first = !this.reflecting",
    ),
    test: "test/node/turns.test.ts",
  },
  {
    ...one(
      "rows of other nodes wait for rows of the application",
      0,
      "replication/pipeline/pipeline.ts",
      "!this.reflecting && changed.size === 0 && redirected.length === 0;",
      "!this.reflecting;",
    ),
    test: "test/node/turns.test.ts",
  },
  {
    // A log whose newest id falls counts as emptied, and its table is compared: no write is lost.
    ...one(
      "the sweep deletes the highest row of a change log, too",
      0,
      "reflect/change-log-writer.ts",
      "`DELETE FROM ${name} WHERE id BETWEEN 1 AND ? AND id < (SELECT max(id) FROM ${name})`,",
      "`DELETE FROM ${name} WHERE id BETWEEN 1 AND ?`,",
    ),
    test: "test/reflect/change-log-writer.test.ts",
  },
  one(
    "a change is compared with the present replica, not with the state that the application read",
    60,
    "replica/replica.ts",
    "    if (before !== undefined) return before;\n",
    "    if (before === null) return before;\n",
  ),
  one(
    "the base position of a change is the present reflected position",
    60,
    "change/base-positions.ts",
    "if (list[i]!.nextId <= id) return list[i]!.position;\n",
    "if (list[i]!.nextId <= id) return this.reflected;\n",
  ),
  {
    ...one(
      "the base position of an unacknowledged key advances",
      0,
      "reflect/row-reflector.ts",
      "if (base !== null) this.#keepBase(table, keyId, base);",
      "if (base !== null && base.length > 999) this.#keepBase(table, keyId, base);",
    ),
    test: "test/simulation/simulation.test.ts",
  },
  one(
    "evictions through a second UNIQUE key are not captured",
    100,
    "capture/capture-triggers.ts",
    "1 FROM ${name} WHERE ${l.where};`,",
    "1 FROM ${name} WHERE 0 AND (${l.where});`,",
  ),
  one(
    "key changes log only the new key",
    100,
    "capture/capture-triggers.ts",
    'WHEN ${moved}`,\n      record("OLD"),',
    'WHEN ${moved}`,\n      record("NEW"),',
  ),
  one(
    "a key's case counts under NOCASE",
    100,
    "change/key.ts",
    'if (collation === "NOCASE") return text.replace(/[A-Z]+/g, (upper) => upper.toLowerCase());',
    "",
  ),
  // ---------------------------------------------------------------------------------------- reflecting
  one(
    "an unacknowledged row is overwritten by the row of the replica",
    60,
    "reflect/row-reflector.ts",
    "    if (pending.has(table, keyId)) {",
    "    if (pending.has(table, keyId) && pending.size > 3) {",
  ),
  one(
    "a key counts as settled while newer log rows wait",
    60,
    "change/pending-rows.ts",
    "    if (maxId > upTo) {",
    "    if (maxId > upTo + 1e9) {",
  ),
  one(
    "a row that makes room for a pending one is not remembered",
    200,
    "reflect/row-reflector.ts",
    "    withheld.set(table, keyId, { key, position });",
    "    if (position.length > 99) withheld.set(table, keyId, { key, position });",
  ),
  one(
    "deferred rows are not reflected afterwards",
    60,
    "reflect/row-reflector.ts",
    "    if (source.changed.get(table, keyId) === undefined)\n",
    "    if (source.changed.get(table, keyId) === undefined && key.length > 9)\n",
  ),
  one(
    "the reflected position is not written into the app database",
    100,
    "reflect/reflector.ts",
    "if (index !== bases.reflected[shard]) this.#storePosition.run(BigInt(index), String(shard));",
    "if (index < 0) this.#storePosition.run(BigInt(index), String(shard));",
  ),
  one(
    "after a restart the changes accepted before it are not reflected",
    200,
    "replication/pipeline/pipeline.ts",
    "    replica.recallChanges(this.#session.bases.reflected);",
    "",
  ),
  one(
    "our own writes are captured",
    5,
    "reflect/trigger-silencer.ts",
    "      if (isOwn(name)) return SQLITE_IGNORE;",
    "      if (isOwn(name)) return SQLITE_OK;",
  ),
  one(
    "references are dropped before the file durably shows the change",
    400,
    "replica/apply/before-images.ts",
    "if (isHeld(table, keyId)) {",
    "if (isHeld(table, keyId) && index < 0) {",
  ),
  // ---------------------------------------------------------------------------------------- snapshots
  {
    ...one(
      "a snapshot that is behind in a shard replaces the own replica",
      0,
      "replica/copies/install-snapshot.ts",
      "const isAhead = isAheadOf(next, before);",
      "const isAhead = readPositions(next).length === before.length;",
    ),
    test: "test/node/whole.test.ts",
  },
  one(
    "the log is not replayed before a snapshot replaces a replica that lost its end",
    60,
    "replication/replicator.ts",
    "committed: this.pipeline.session.bases.reflected,",
    "committed: this.pipeline.session.bases.reflected.map(() => 0),",
  ),
  {
    ...one(
      "the changes by an installed snapshot are not compared with the old rows",
      0,
      "replica/copies/carry-before-images.ts",
      "    else insert.run(++id, table, keyId, shard, after[shard]!, image);",
      "    else if (id < 0) insert.run(++id, table, keyId, shard, after[shard]!, image);",
    ),
    test: "test/node/schedules.test.ts",
  },
  // ---------------------------------------------------------------------------------------- without a declared key
  one(
    "every base includes the writes of the others, so a set of rows has no conflicts",
    60,
    "replica/apply/recent-writers.ts",
    "if (!this.#opened.every(isCovered)) return false;",
    "if (base.length > 0) return true;",
  ),
  {
    ...one(
      "creation positions are ignored",
      200,
      "replica/apply/rowid-collisions.ts",
      "let collides = creation !== null && !covers(base, creation) && isForeign;",
      "let collides = isForeign && row.base < 0;",
    ),
    keyless: true,
  },
  {
    ...one(
      "an insert replaces a re-created row that its writer had not seen",
      300,
      "replica/apply/rowid-collisions.ts",
      "collides = unseenWrite(last, base, context) !== null;",
      "collides = unseenWrite(last, base, context) !== null && row.base < 0;",
    ),
    keyless: true,
  },
  {
    ...one(
      "redirected rowids do not end the incarnation",
      100,
      "replica/batch-applier.ts",
      "const ended = rowidCollisions.hasRedirected;",
      "const ended = false;",
    ),
    keyless: true,
  },
  {
    ...one(
      "the file is drained before it shows the redirected rowids of own rows",
      400,
      "replication/pipeline/drain-task.ts",
      'if (replica.redirected.length > 0) return "done";',
      "",
    ),
    keyless: true,
  },
  {
    ...one(
      "an unacknowledged row keeps a rowid to which another row is redirected",
      100,
      "reflect/redirected-rows.ts",
      "(!moves.has(to) && isPending(to) ? [to] : [])",
      "(moves.has(to) && isPending(to) ? [to] : [])",
    ),
    keyless: true,
  },
  {
    ...one(
      "an own row hides the row of another node until it is ordered",
      100,
      "reflect/reflector.ts",
      "this.#rows.makeRoom();",
      "",
    ),
    keyless: true,
  },
  {
    ...one(
      "a row in flight moves to a free rowid",
      200,
      "reflect/occupied-rowids.ts",
      "if (isSent && this.#hides(logs.get(id)!, keyId)) return true;",
      "",
    ),
    keyless: true,
  },
  {
    ...one(
      "a drain that runs sends a row under the rowid from which it moves",
      0,
      "reflect/occupied-rowids.ts",
      "if (isDraining && (isUnread || pending.hasAny(id))) return true;",
      "",
    ),
    test: "test/node/keyless.test.ts",
  },
  {
    ...one(
      "a rowid that the file already shows is redirected again after the replica lost its end",
      0,
      "replica/apply/redirected-rowids.ts",
      "if (own && this.#isPending(row))",
      "if (own)",
    ),
    test: "test/node/keyless.test.ts",
  },
  {
    name: "no index keeps the rowids through VACUUM",
    within: 100,
    edits: [
      { file: "capture/capture-triggers.ts", find: "if (shape.rowidKey) {", replace: "if (shape.id < 0) {" },
      // Nor does anybody miss it.
      {
        file: "capture/recapture.ts",
        find: "keyColumns(table).length > 0 || hasIndex(db, keepIndexName(id))",
        replace: "keyColumns(table).length > 0 || true",
      },
    ],
    keyless: true,
  },
  // ---------------------------------------------------------------------------------------- generated schemas
  unproven(
    one(
      "a trigger that writes replicated tables fires on every node",
      100,
      "reflect/trigger-silencer.ts",
      'if (trigger.mode === "silent") return SQLITE_IGNORE;',
      'if (trigger.mode === "silent") return SQLITE_OK;',
    ),
  ),
  unproven(
    one(
      "a full-text index does not receive the rows of other nodes",
      100,
      "reflect/trigger-silencer.ts",
      "return WRITES.has(action) && this.#triggers.isReplicated(table) ? SQLITE_IGNORE : SQLITE_OK;",
      "return WRITES.has(action) && table !== '' ? SQLITE_IGNORE : SQLITE_OK;",
    ),
  ),
  unproven(
    one(
      "silenced triggers are re-created in another order",
      300,
      "reflect/trigger-silencer.ts",
      "for (const { name, place } of this.#suspended.values()) move.run(place, name);",
      "for (const { name, place } of this.#suspended.values()) move.run(place, name + name);",
    ),
  ),
  {
    ...one(
      "the full-text index of a built app database stays empty",
      200,
      "replica/copies/fill-application.ts",
      'if (kind === "external" ? hasContent : fillersOf(built, name).length > 0)',
      "if (kind === undefined)",
    ),
    generated: true,
  },
  {
    ...one(
      "spaces at the end of a key count under RTRIM",
      200,
      "change/key.ts",
      'if (collation === "RTRIM") return text.replace(/ +$/, "");',
      "",
    ),
    generated: true,
  },
  {
    ...one(
      "the rows to restore after a schema change are lost by a restart",
      0,
      "schema-sync/rows-to-restore.ts",
      "    for (const [id, keys] of this.all())\n",
      "    for (const [id, keys] of new Map<number, KeyId[]>())\n",
    ),
    // A kill between a change of the schema and the reflection behind it, with rows that found no room.
    test: "test/schema-sync/rows-to-restore.test.ts",
  },
  // ---------------------------------------------------------------------------------------- custody of the file
  {
    ...one(
      "a change log that lost rows counts as complete",
      0,
      "capture/log-ids.ts",
      "return mark !== undefined && highestId(db, log) >= floor;",
      "return true;",
    ),
    test: "test/capture/log-ids.test.ts",
  },
  {
    name: "no one notices an emptied change log while the node runs",
    within: 100,
    custody: true,
    edits: [
      {
        file: "capture/drain.ts",
        find: "return (newest.get(id) ?? 0) < cursors.drained(id);",
        replace: "return (newest.get(id) ?? 0) < -2;",
      },
      {
        file: "reflect/change-log-writer.ts",
        find: "return newest < read;",
        replace: "return newest < -2;",
      },
    ],
  },
  {
    ...one(
      "the log ids of an emptied change log begin again",
      0,
      "capture/log-ids.ts",
      "if (highestId(db, log) < floor) blank(db, log, floor);",
      "",
    ),
    test: "test/capture/log-ids.test.ts",
  },
  {
    ...one(
      "a log id that an older copy of the file used again counts as ordered",
      0,
      "capture/drain.ts",
      "if (!beforeImages.isLastWriteOwn(shape.id, row.keyId, base)) return true;",
      "return true;",
    ),
    test: "test/node/custody.test.ts",
  },
  {
    ...one(
      "an older copy of the file is taken for the file",
      0,
      "node/file/inspect-file.ts",
      "(life === null || life.epoch !== noted.epoch || life.life < noted.life)",
      "life === null",
    ),
    test: "test/node/custody.test.ts",
  },
  {
    ...one(
      "own rows that the file lost are not looked for",
      0,
      "node/file/file-pair.ts",
      "if (!isSame(there!.get(key), here!.get(key))) return true;",
      "if (shards < 0) return true;",
    ),
    test: "test/node/custody.test.ts",
  },
  // ---------------------------------------------------------------------------------------- applications beside the rules
  {
    ...one(
      "a transaction with a row without a key is sent in halves",
      0,
      "capture/held-tables.ts",
      "if (this.#options.whole && hasNews && ranges.length > 1) {",
      "if (this.#options.whole && hasNews && ranges.length > 99) {",
    ),
    test: "test/node/null-keys.test.ts",
  },
  {
    ...one(
      "a NULL key that no row has any more holds back its table",
      0,
      "rows/change-log-reader.ts",
      "if (!isChecked && this.hasRowWithoutKey(from, to)) throw new RowWithoutKey();",
      "if (!isChecked) throw new RowWithoutKey();",
    ),
    test: "test/rows/change-log-reader.test.ts",
  },
  {
    ...one(
      "a WAL that was written from its start again is taken for whole",
      0,
      "app-db/wal-commits.ts",
      "if (!before.isEmpty) return now.salt === before.salt;",
      "if (!before.isEmpty) return true;",
    ),
    test: "test/app-db/wal-commits.test.ts",
  },
  {
    ...one(
      "a row that no trigger saw is replaced without a trace",
      0,
      "reflect/row-reflector.ts",
      "      this.#unseen.set(log, [...(this.#unseen.get(log) ?? []), now]);\n",
      "",
    ),
    test: "test/node/unseen.test.ts",
  },
  {
    ...one(
      "a row that no trigger saw is replaced before the journal has it",
      0,
      "reflect/row-reflector.ts",
      "if (isLost && (this.#unseen.size > 0 || this.#journalWaits.get() !== undefined)) return true;",
      "",
    ),
    test: "test/node/unseen.test.ts",
  },
  {
    ...one(
      "triggers travel without the table that they need",
      0,
      "schema-sync/detect-change.ts",
      "const dependent = dependentObjects(objects, onlyHere(ignored, objects, replica, selection));",
      "const dependent = dependentObjects(objects, new Set(onlyHere(ignored, objects, replica, selection)).intersection(new Set()));",
    ),
    test: "test/schema-sync/schema-local-targets.test.ts",
  },
  // ---------------------------------------------------------------------------------------- files that are changed from outside
  ofFiles(
    "an older copy of the file is taken as it is",
    "node/file/inspect-file.ts",
    'if (!isOlder) return { kind: "take" };',
    'return { kind: "take" };',
  ),
  ofFiles(
    "a file that no one wrote to since it went back uses its log ids again",
    "node/file/file-custody.ts",
    "      skipIds(db, used);\n",
    "",
  ),
  ofFiles(
    "the file of another node is taken",
    "node/file/inspect-file.ts",
    "if (meta !== null && (meta.clusterId !== clusterId || meta.peerId !== peerId))",
    "if (meta !== null && meta.clusterId !== clusterId)",
  ),
  ofFiles(
    "a file that went back within its life is taken for one whose rows were deleted",
    "rows/file-life.ts",
    "if (newest >= 0 && newest < read) throw",
    "if (newest < -2) throw",
  ),
  ofFiles(
    "a running node does not compare the life of the file",
    "rows/file-life.ts",
    "if (expected !== null && !isSameLife(",
    "if (expected === undefined && !isSameLife(",
  ),
  // ---------------------------------------------------------------------------------------- the archive
  ofArchives(
    "a segment of the archive is dropped",
    "archive/archive.ts",
    "if (await this.store.create(linkName(link.number), bytes)) return chained;",
    "if (link.number % 7 === 3 || (await this.store.create(linkName(link.number), bytes))) return chained;",
  ),
  {
    ...one(
      "a link takes the place of that of another node",
      0,
      "archive/archive.ts",
      "if (await this.store.create(linkName(link.number), bytes)) return chained;",
      "await this.store.put(linkName(link.number), bytes); return chained;",
    ),
    test: "test/archive/shipper.test.ts",
  },
  ofArchives(
    "an entry is left out between two segments",
    "archive/shipping/segments.ts",
    "const [first, end] = [from[shard]! + 1, positions[shard]! + 1];",
    "const [first, end] = [from[shard]! + (link.number % 5 === 4 ? 2 : 1), positions[shard]! + 1];",
  ),
  ofArchives(
    "a snapshot is followed from a link too late",
    "archive/shipping/shipper.ts",
    ".store(node, archive, this.#tail.link.number + 1)",
    ".store(node, archive, this.#tail.link.number + 3)",
  ),
  ofMerging(
    "merged links lack the entries of the first one",
    "archive/merging.ts",
    "run.flatMap(({ link }) => link.entries[shard]!)",
    "run.slice(1).flatMap(({ link }) => link.entries[shard]!)",
  ),
  ofMerging(
    "merged links have the hash of the first one",
    "archive/merging.ts",
    "hash: last.hash,",
    "hash: first.hash,",
  ),
  ofMerging(
    "a link of a node that slept counts more than the merged ones",
    "archive/archive.ts",
    "if (known !== null) return this.#merged(known);",
    "if (known !== null && (await this.store.get(linkName(number))) === null) return this.#merged(known);",
  ),
  {
    ...one(
      "the feed tells the entry at the seam of archive and history twice",
      0,
      "operations/changes/past-stream.ts",
      "this.#position = latest(this.#position, this.#seam);",
      "this.#position = latest(this.#position, this.#seam).map((index) => index - 1);",
    ),
    test: "test/archive/seam.test.ts",
  },
  {
    ...one(
      "the feed leaves out the entry at the seam of archive and history",
      0,
      "node/backup/archive-changes.ts",
      'until === null ? { kind: "newest" } : { kind: "position", position: until };',
      'until === null ? { kind: "newest" } : { kind: "position", position: until.map((i) => i - 1) };',
    ),
    test: "test/archive/seam.test.ts",
  },
  // ---------------------------------------------------------------------------------------- machines that lose their past
  ofRecoveries(
    "a later epoch does not halt a member of an earlier one",
    "replication/epochs/epoch-guard.ts",
    "        this.#superseded(hello.epochs!);\n",
    "",
  ),
  ofRecoveries(
    "a later epoch that a member met is forgotten at a restart",
    "node/startup/check-files.ts",
    "if (last !== undefined) throw",
    "if (last?.id === file) throw",
  ),
  ofRecoveries(
    "a learner follows the recovery of its cluster with entries that the survivor lacks",
    "replication/epochs/followers.ts",
    "if (!agrees || ends.length !== all.length) return",
    "if (ends.length !== all.length) return",
  ),
  {
    ...one(
      "a learner that follows keeps entries that no one confirmed",
      0,
      "log-store/sqlite-log-store.ts",
      "        this.#cutAfter(shard, ends[shard]!);\n",
      "",
    ),
    test: "test/replication/followers.test.ts",
  },
  {
    ...one(
      "a removed voter is refused while other shards need its vote",
      0,
      "replication/lives/life-guard.ts",
      " && !votesIn(groups, member)",
      "",
    ),
    test: "test/replication/lives/life-guard.test.ts",
  },
  {
    ...one(
      "of two epochs that do not know of each other, each is the later one",
      0,
      "shard/epochs.ts",
      'return isFork && !isLater(other, last) ? "older" : "newer";',
      'return isFork && !isLater(other, last) ? "newer" : "newer";',
    ),
    // In the simulator the hellos of two nodes do not cross: the first one halts before it tells its epoch.
    test: "test/shard/epochs.test.ts",
  },
  {
    ...one(
      "a new epoch begins right after the log, although an entry waits for a lost one",
      0,
      "replication/epochs/epoch-starts.ts",
      "if (marker !== null) needs(0, marker);",
      "if (marker !== null) continue;",
    ),
    test: "test/replication/epoch-starts.test.ts",
  },
  ofRecoveries(
    "a silent voter leaves before a learner has its vote",
    "shard/cluster-members.ts",
    "      { type: addVoter, member: learner.id },\n",
    "",
  ),
  ofRecoveries(
    "a removed member that began an epoch is not told that it was removed",
    "replication/lives/peer-lives.ts",
    "epochs.isUnproven(hello) ? this.#guard.admit(peer, hello, linkedNonce) : null",
    "null",
  ),
  {
    ...one(
      "a leader follows a writer at once",
      0,
      "shard/leaders/writers.ts",
      "return this.#looks >= LASTING_LOOKS ? this.#most : 0;",
      "return this.#most;",
    ),
    test: "test/shard/writers.test.ts",
  },
  ofRecoveries(
    "a removed member may speak",
    "replication/lives/hello-check.ts",
    'if (life !== null && knowledge.isRemoved(life)) return "removed";',
    "",
  ),
  ofHostiles(
    "a member without a vote is followed",
    "shard/speakers.ts",
    "return this.#vouchers?.isLeader(group.shard, from) ?? false;",
    "return true;",
  ),
  ofHostiles(
    "a term counts however far it is",
    "raft/election/term-bound.ts",
    "if (term <= view.term + this.#allowance(view) || this.#isClaimed(from, view)) {",
    "if (term > 0) {",
  ),
  ofHostiles(
    "a member speaks under the id of another one",
    "shard/speakers.ts",
    "if (known !== undefined) return known === peer;",
    "if (known !== undefined) return true;",
  ),
  ofHostiles(
    "a leader orders the entries of each member unread",
    "shard/runtime.ts",
    "type === EntryType.normal && stateMachine.mayPropose?.(group.shard, peer, data) !== false,",
    "type === EntryType.normal || stateMachine.mayPropose?.(group.shard, peer, data) !== false,",
  ),
  ofUpgrades(
    "the newest format is written although a member does not read it",
    "replication/formats/cluster-formats.ts",
    "Math.min(FORMATS[name].max, ...newest)",
    "Math.max(FORMATS[name].max, ...newest)",
  ),
  ofUpgrades(
    "an unmet member counts as one of this build",
    "replication/formats/cluster-formats.ts",
    "(known(peer) ?? OLDEST_FORMATS)[name].max",
    "(known(peer) ?? FORMATS)[name].max",
  ),
  ofUpgrades(
    "a node that does not read the entries in use is accepted",
    "replication/peer-messages.ts",
    "return this.#components.replica.replica.usedFormats;",
    "return {};",
  ),
  ofMachines(
    "an older life of a member is accepted",
    "replication/lives/hello-check.ts",
    'if (isOld) return "went-back";',
    "",
  ),
  ofMachines(
    "a new process of a member need not have the entries that the last one acknowledged",
    "replication/lives/hello-check.ts",
    'return isNewProcess && !knowledge.keepsPromises(life) ? "log-lost" : null;',
    "return null;",
  ),
  ofMachines(
    "a second process of a connected member is accepted",
    "replication/lives/hello-check.ts",
    'return isOld || isAliveSince ? "twice" : "later";',
    "return null;",
  ),
  ofMachines(
    "members do not tell each other the lives that they have met",
    "replication/lives/life-guard.ts",
    "return peers.remember(peer, { member, incarnation, nonce }) ? [peer] : [];",
    "return [];",
  ),
  ofMachines(
    "a commit index of a leader is no promise of its log",
    "shard/acknowledged.ts",
    "this.has(from, message.commit);",
    "",
  ),
  {
    ...one(
      "a log that ends before the replica is used",
      0,
      "replication/lives/log-end.ts",
      "if (seen > lastIndex)",
      "if (seen > lastIndex + 1)",
    ),
    // In the simulation the peers refuse the node, too: they know the entries that it acknowledged.
    test: "test/replication/lives/log-end.test.ts",
  },
  // ---------------------------------------------------------------------------------------- members that do not keep to the protocol
  {
    ...one(
      "a message under an id that no configuration knows is taken",
      0,
      "shard/speakers.ts",
      "return first.admits(id, peer) || (this.#vouchers?.isVouched(id, peer) ?? false);",
      "return true;",
    ),
    test: "test/shard/unknown-senders.test.ts",
  },
  {
    ...one(
      "members do not vouch for members that this node does not know",
      0,
      "replication/peer-news.ts",
      "if (told) return true;",
      "",
    ),
    test: "test/replication/peer-news.test.ts",
  },
  {
    ...one(
      "a term that no elections can have made is adopted",
      0,
      "raft/election/term-bound.ts",
      "return SLACK + elections * Math.max(1, voters.length);",
      "return UNKNOWN_TIME;",
    ),
    test: "test/raft/election/term-bound.test.ts",
  },
  {
    ...one(
      "a node that was suspended believes no later term",
      0,
      "raft/election/term-bound.ts",
      "return recent.length >= Math.min(others, Math.floor(voters.length / 2) + 1);",
      "return recent.length > others;",
    ),
    test: "test/raft/election/term-bound.test.ts",
  },
  {
    ...one(
      "a leader orders entries that no node can apply",
      0,
      "replication/messages/check-proposal.ts",
      "if (!isRefused && head.schema === undefined) decodeTables(head, (id) => shapes.get(id));",
      "",
    ),
    test: "test/replication/messages/check-proposal.test.ts",
  },
  // ---------------------------------------------------------------------------------------- values that stay in the log
  {
    ...one(
      "the log is compacted with the entries that the history refers to",
      0,
      "log-store/kept-entries.ts",
      "for (const index of this.#keeper?.kept(shard, after, upTo) ?? []) {",
      "for (const index of [] as LogIndex[]) {",
    ),
    test: "test/replica/history/shared-values.test.ts",
  },
  {
    ...one(
      "the log removes the entries that the history refers to at the next start",
      0,
      "log-store/kept-entries.ts",
      "      if ((this.#keeper?.kept(shard, index - 1, index) ?? []).length > 0) continue;\n",
      "",
    ),
    test: "test/replica/history/shared-values.test.ts",
  },
  {
    ...one(
      "a value of the history is taken from the place of a similar one",
      0,
      "replica/history/shared-values.ts",
      "return bytesEqual(encoded.subarray(at, at + value.length), value) ? at : null;",
      "return at;",
    ),
    test: "test/replica/history/shared-values.test.ts",
  },
  // ---------------------------------------------------------------------------------------- parts of a changeset
  {
    ...one(
      "the replica's positions are stored without the parts before them",
      0,
      "replica/replica-transaction.ts",
      "this.#isAhead = components.staged.unstoredBytes > 0;",
      "this.#isAhead = false;",
    ),
    test: "test/replica/staged-parts.test.ts",
  },
  {
    ...one(
      "a changeset of another origin takes effect, and the parts before it are only in memory",
      0,
      "replica/replica-transaction.ts",
      " || this.#written !== this.#writtenBefore;",
      ";",
    ),
    test: "test/replica/staged-parts.test.ts",
  },
  // ---------------------------------------------------------------------------------------- releases
  {
    ...one(
      "the newest format is written while a member of an older release is there",
      0,
      "replication/formats/cluster-formats.ts",
      "Math.min(FORMATS[name].max, ...newest)",
      "Math.max(FORMATS[name].max, ...newest)",
    ),
    test: "test/base/formats.test.ts",
  },
  {
    ...one(
      "a member that was never met counts as one of this release",
      0,
      "replication/formats/cluster-formats.ts",
      "(known(peer) ?? OLDEST_FORMATS)",
      "(known(peer) ?? { ...FORMATS, entry: { min: 1, max: 99 } })",
    ),
    test: "test/base/formats.test.ts",
  },
  {
    ...one(
      "a node joins that does not read the entries of the cluster",
      0,
      "base/versions/formats.ts",
      "if (version !== undefined && version > peer[name].max)",
      "if (version === undefined)",
    ),
    test: "test/replication/messages/message-router.test.ts",
  },
  {
    ...one(
      "the format of an entry is not noted in the replica",
      0,
      "replica/store/used-formats.ts",
      "    store(this.#db, ENTRY_FORMAT, format);\n",
      "",
    ),
    test: "test/node/formats.test.ts",
  },
  // ---------------------------------------------------------------------------------------- the past
  one(
    "the history keeps entries that the replica lost in a crash",
    60,
    "replica/history/meet-replica.ts",
    "      drop.run(shard, index);\n",
    "",
  ),
  one(
    "the history is taken for whole although it lacks entries",
    60,
    "replica/history/meet-replica.ts",
    "positions.every((index, shard) => to[shard]! >= index)",
    "to.every((index) => index >= 0)",
  ),
  one(
    "the history does not record the deletion of a row that lost its UNIQUE value",
    60,
    "replica/apply/row-applier.ts",
    "    this.#components.history()?.row(shape.id, bytes, null);\n",
    "",
  ),
  one(
    "an undo takes back rows that others changed since",
    60,
    "operations/changes/undo.ts",
    "    if (!force && !isSamePast(wanted, after)) {",
    "    if (!force && wanted === undefined) {",
  ),
  one(
    "an undo takes a row back to its newest change only",
    60,
    "operations/changes/undo.ts",
    "    wanted = filled(writer, row.shape, before, wanted);\n",
    "    wanted = filled(writer, row.shape, before, wanted);\n    break;\n",
  ),
  one(
    "a restored conflict is dismissed",
    60,
    "operations/settle-conflicts.ts",
    "      const note = settleNote(state, of.slice(i, i + SETTLED_AT_ONCE));",
    '      const note = settleNote("dismissed", of.slice(i, i + SETTLED_AT_ONCE));',
  ),
  one(
    "a state of a conflict counts for the one before it in the journal",
    60,
    "replica/conflicts/conflict-states.ts",
    "      this.#put.run(shard, index, ordinal, state, by.origin, by.time);",
    "      this.#put.run(shard, index, Math.max(0, ordinal - 1), state, by.origin, by.time);",
  ),
  // ---------------------------------------------------------------------------------------- outside of the simulated host
  {
    name: "a descriptor of the app database is closed after each sync",
    within: 0,
    test: "test/app-db/file-sync.test.ts",
    edits: [
      {
        file: "app-db/file-sync.ts",
        find: "    fdatasyncSync(this.#wal!);\n  }",
        replace: '    fdatasyncSync(this.#wal!);\n    closeSync(openSync(this.path, "r"));\n  }',
      },
    ],
  },
  {
    name: "a redirected row is hashed and recorded as its batch has it",
    within: 0,
    test: "test/change/codec.test.ts",
    edits: [
      {
        file: "change/codec.ts",
        find: "  if (packed === undefined || packed.image !== image) return withEncoded(image!, use);",
        replace: "  if (packed === undefined) return withEncoded(image!, use);",
      },
    ],
  },
  {
    name: "keys stay new after the replica has taken them",
    within: 0,
    test: "test/node/new-keys.test.ts",
    edits: [{ file: "replica/replica.ts", find: "    this.#newKeys.clear();\n", replace: "" }],
  },
  {
    name: "own entries of an earlier process are taken for rows that the file has",
    within: 0,
    test: "test/replica/apply/earlier-process.test.ts",
    edits: [
      {
        file: "replica/batch-applier.ts",
        find: "const isEarlier = own && incarnation < this.ownSince;",
        replace: "const isEarlier = false;",
      },
    ],
  },
];
