/** Aligns the Raft log with a replica that was received: the log of each shard begins at the position of the replica. */
import type { SqliteLogStore } from "../../log-store/sqlite-log-store.ts";
import type { OpenReplica } from "../../replica/open-replica.ts";
import { readLocal } from "../../replica/store/local.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";

/** Call after `logEndHalt`: only a received replica may be ahead of the log. */
export function alignLog(store: SqliteLogStore, { replica, db }: OpenReplica): void {
  const received = readLocal(db, "configurations");
  const configurations = received === null ? [] : (JSON.parse(received) as GroupConfiguration[]);
  for (let shard = 0; shard < replica.settings.shards; shard++) {
    const log = store.group(shard);
    const index = replica.position(shard);
    const term = replica.term(shard);
    const matches = index >= log.firstIndex() - 1 && index <= log.lastIndex() && log.term(index) === term;
    if (matches) continue;
    const own = store.configurationAt(shard, index);
    const received = configurations[shard];
    const configuration = received !== undefined && received.index > (own?.index ?? -1) ? received : own!;
    const { hardState } = log;
    store.write([
      {
        shard,
        snapshot: { index, term, configuration: configuration.configuration },
        hardState: {
          term: Math.max(hardState.term, term),
          vote: hardState.term >= term ? hardState.vote : 0,
          commit: index,
        },
        configuration,
      },
    ]);
  }
}
