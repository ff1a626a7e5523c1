/** Headers and trailers of snapshots: read back as they were written, malformed ones refused with the place. */
import { asPeerId } from "../../src/base/ids.ts";
import { expect, test } from "bun:test";
import { utf8 } from "../../src/base/bytes.ts";
import {
  decodeHeader,
  decodeTrailer,
  encodeHeader,
  encodeTrailer,
  SnapshotError,
  type SnapshotHeader,
} from "../../src/snapshot/header.ts";

const header: SnapshotHeader = {
  clusterId: "c0ffee",
  positions: [{ index: 7, term: 2 }],
  configurations: [
    {
      index: 3,
      configuration: {
        voters: [1, 2],
        votersOutgoing: [],
        learners: [3],
        learnersNext: [],
        autoLeave: false,
      },
      members: [
        { id: 1, peerId: asPeerId("p1"), name: "n1", slot: 1 },
        { id: 2, peerId: asPeerId("p2"), name: "n2" },
      ],
    },
  ],
  size: 8192,
};
const decode = (value: unknown): SnapshotHeader => decodeHeader(utf8(JSON.stringify(value)));

test("a header and a trailer are read back as they were written", () => {
  expect(decodeHeader(encodeHeader(header))).toEqual(header);
  for (const trailer of [
    { hash: 0xfeedn, whole: 0xbeefn },
    { hash: 0xfeedn, whole: null },
  ])
    expect(decodeTrailer(encodeTrailer(trailer))).toEqual(trailer);
});

test("a header of another format or with a malformed field is refused", () => {
  for (const [value, part] of [
    [{ ...header, format: 2 }, "format 2"],
    [{ ...header }, "format"],
    [[], "format"],
    [{ format: 1, ...header, size: -1 }, "size"],
    [{ format: 1, ...header, clusterId: 7 }, "clusterId"],
    [{ format: 1, ...header, positions: [{ index: 1.5, term: 1 }] }, "positions.0.index"],
    [{ format: 1, ...header, positions: [] }, "a position and a configuration for every shard"],
    [{ format: 1, ...header, configurations: [{ index: 3, members: [] }] }, "configurations.0.configuration"],
  ] as const) {
    expect(() => decode(value)).toThrow(SnapshotError);
    expect(() => decode(value)).toThrow(part);
  }
  expect(() => decodeHeader(utf8("SQLite format 3"))).toThrow("not a snapshot");
  expect(() => decodeTrailer(utf8('{"hash":"no hex"}'))).toThrow(SnapshotError);
});
