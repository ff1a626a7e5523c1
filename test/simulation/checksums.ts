/** The rolling checksums of a replica are those of the rows that are there. */
import { encodeImage, imageHash } from "../../src/change/codec.ts";
import { keyIdOfImage } from "../../src/change/key.ts";
import type { OpenReplica } from "../../src/replica/open-replica.ts";
import { exactRows } from "../../src/rows/exact-rows.ts";

/** Where they are not. */
export function wrongChecksums({ replica, db }: Pick<OpenReplica, "replica" | "db">): string[] {
  const { encoding, shards } = replica.settings;
  const sums = new Map<string, bigint>();
  for (const shape of replica.shapes.values())
    for (const image of exactRows(db, shape, encoding)) {
      const name = `${replica.shardOfKey(shape.id, keyIdOfImage(shape, image))}/${shape.id}`;
      sums.set(name, BigInt.asUintN(64, (sums.get(name) ?? 0n) + imageHash(encodeImage(image))));
    }
  const out: string[] = [];
  for (let shard = 0; shard < shards; shard++) {
    const kept = new Map(replica.checksums.ofShard(shard));
    for (const { id, name } of replica.shapes.values()) {
      const counted = (sums.get(`${shard}/${id}`) ?? 0n).toString();
      if ((kept.get(id) ?? "0") !== counted)
        out.push(`the checksum of ${name} in shard ${shard} is ${kept.get(id)}, its rows give ${counted}`);
    }
  }
  return out;
}
