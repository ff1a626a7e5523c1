/** What peers send: frames, links, Raft messages, control messages, entries of the log, configuration changes. */
import type { Stream } from "@libp2p/interface";
import { strict as assert } from "node:assert";
import { utf8 } from "../../src/base/bytes.ts";
import { HaltError } from "../../src/base/halt.ts";
import { asPeerId } from "../../src/base/ids.ts";
import type { Random } from "../../src/base/random.ts";
import { BatchKind } from "../../src/change/batch.ts";
import {
  CodecError,
  decodeBatchHead,
  decodeImage,
  decodeTables,
  encodeBatch,
  encodeImage,
  tablesIn,
} from "../../src/change/codec.ts";
import { encodeMarker, encodeNamed, readMarking } from "../../src/change/marking.ts";
import { TextBytes } from "../../src/change/value.ts";
import { decodeConfigChange, encodeConfigChange } from "../../src/raft/membership/config-change.ts";
import { ConfigChangeTransition, ConfigChangeType } from "../../src/raft/model/types.ts";
import {
  decodeControl,
  decodeHello,
  encodeControl,
  encodeHello,
} from "../../src/replication/messages/control-messages.ts";
import { readSharedRequest } from "../../src/replication/snapshots/fetch-replica.ts";
import {
  decodeSchemaEntry,
  encodeSchemaEntry,
  SchemaEntryError,
} from "../../src/schema/diff/schema-entry.ts";
import { decodeMessages, encodeMessages, WireError } from "../../src/shard/wire.ts";
import { frame, FrameKind, frameParser, FramingError, MAX_FRAME_BYTES } from "../../src/transport/framing.ts";
import { Link, MAX_STRANGER_BYTES } from "../../src/transport/link.ts";
import { batch } from "../replica/lab.ts";
import { CONTROLS, HELLO, MESSAGES, SHAPE } from "./samples.ts";
import { pieces, randomBytes } from "./mutate.ts";
import { mayThrow, type MakeTarget } from "./target.ts";

const joined = (parts: readonly Uint8Array[]): Uint8Array => Buffer.concat(parts);

/** Whole frames come out, of the sizes that the limit allows, or the stream is refused. */
export const framing: MakeTarget = (random) => ({
  name: "framing",
  samples: [
    joined([frame(FrameKind.hello, utf8("{}")), frame(FrameKind.message, randomBytes(random, 40))]),
    joined([
      frame(FrameKind.piece, randomBytes(random, 300)),
      frame(FrameKind.lastPiece, randomBytes(random, 3)),
    ]),
    frame(FrameKind.alive, new Uint8Array(0)),
  ],
  feed(bytes, chance) {
    let size = 0;
    const parse = frameParser({
      onFrame: (_kind, payload) => {
        assert(payload.length <= MAX_FRAME_BYTES);
        size += payload.length + 5;
      },
      onPiece: (_kind, parts, bytesOfPiece) => {
        assert(bytesOfPiece <= MAX_FRAME_BYTES && joined(parts).length === bytesOfPiece);
        size += bytesOfPiece + 5;
      },
    });
    mayThrow([FramingError], () => pieces(bytes, chance).forEach(parse));
    assert(size <= bytes.length);
  },
});

class FakeStream extends EventTarget {
  readonly writeStatus = "writable";
  aborted = false;
  send = (): boolean => true;
  close = (): Promise<void> => Promise.resolve();
  abort(): void {
    this.aborted = true;
  }
}

/** A link hands whole messages on, or is closed; it never holds more than a stranger may send. */
export const link: MakeTarget = (random) => ({
  name: "link",
  samples: [
    joined([
      frame(FrameKind.hello, encodeHello(HELLO)),
      ...CONTROLS.map((control) => frame(FrameKind.message, encodeControl(control))),
    ]),
    joined([
      frame(FrameKind.hello, utf8("{}")),
      frame(FrameKind.piece, randomBytes(random, MAX_FRAME_BYTES)),
      frame(FrameKind.lastPiece, randomBytes(random, 9)),
    ]),
    joined([frame(FrameKind.hello, utf8("{}")), frame(FrameKind.refused, utf8("no"))]),
  ],
  feed(bytes, chance) {
    const stream = new FakeStream();
    let closed = 0;
    let held = 0;
    void new Link(stream as unknown as Stream, false, utf8("{}"), {
      maxMessageBytes: () => MAX_STRANGER_BYTES,
      onHello: (hello) => (decodeHello(hello) === null && chance.chance(0.5) ? "no" : null),
      onMessage: (message) => {
        held = Math.max(held, message.length);
        if (chance.chance(0.1)) decodeControl(message.subarray(1));
      },
      onRefused: () => {},
      onClose: () => closed++,
    });
    for (const data of pieces(bytes, chance))
      stream.dispatchEvent(Object.assign(new Event("message"), { data }));
    assert(closed <= 1, "a link is closed once");
    assert(held <= MAX_STRANGER_BYTES);
  },
});

/** After any bytes the decoder still reads valid ones: it keeps nothing of an earlier message. */
export const raftMessages: MakeTarget = () => {
  const valid = encodeMessages(MESSAGES);
  return {
    name: "raft messages",
    samples: [valid, ...MESSAGES.map((message) => encodeMessages([message]))],
    feed(bytes, chance) {
      mayThrow([WireError], () => {
        for (const { shard, message } of decodeMessages(bytes, 4)) {
          assert(shard < 4);
          assert(Number.isSafeInteger(message.term) && Array.isArray(message.entries));
        }
      });
      if (chance.chance(0.02)) assert.deepEqual(decodeMessages(valid, 4), MESSAGES);
    },
  };
};

export const controlMessages: MakeTarget = () => ({
  name: "control messages",
  samples: [...CONTROLS.map((control) => encodeControl(control).subarray(1)), encodeHello(HELLO)],
  feed(bytes) {
    decodeHello(bytes);
    try {
      const control = decodeControl(bytes);
      assert(control === null || typeof control.kind === "string");
    } catch (error) {
      // The router closes the stream for any error; a refusal stays short whatever came.
      assert(error instanceof Error && error.message.length < 5000);
    }
    readSharedRequest(Buffer.from(bytes).toString("latin1"));
  },
});

const VALUES = [
  1n,
  -5n,
  2n ** 62n,
  1.5,
  -0,
  2,
  "text",
  "",
  null,
  new Uint8Array([1, 2]),
  new TextBytes(new Uint8Array([255])),
];

/** Batches and images are read as they are, or refused as no batch. */
export const changeCodec: MakeTarget = () => {
  const rows = batch({
    writes: [
      { k: 1, v: "one" },
      { k: 2, v: null },
    ],
    after: [3, 4],
    bases: [
      [1, 2],
      [2, 3],
    ],
  });
  const valid = encodeBatch(rows);
  return {
    name: "change codec",
    samples: [
      valid,
      encodeBatch({ ...rows, kind: BatchKind.open, tables: [] }),
      encodeBatch({ ...rows, kind: BatchKind.schema, schema: utf8("{}") }),
      encodeNamed([1, 3], valid),
      encodeMarker(77),
      encodeImage(VALUES),
    ],
    feed(bytes, chance) {
      mayThrow([CodecError, HaltError], () => {
        const { batch: inner, names } = readMarking(bytes);
        assert(names.length <= 255);
        const head = decodeBatchHead(inner);
        tablesIn(head);
        decodeTables(head, (id) => (id === SHAPE.id ? SHAPE : undefined));
      });
      mayThrow([CodecError], () => decodeImage(bytes));
      if (chance.chance(0.02)) assert.deepEqual(decodeImage(encodeImage(VALUES)), VALUES);
    },
  };
};

export const schemaEntries: MakeTarget = () => ({
  name: "schema entries",
  samples: [
    encodeSchemaEntry({ changes: [{ op: "drop", kind: "index", name: "i" }], local: ["f"], lost: null }),
    encodeSchemaEntry({
      changes: [],
      local: [],
      lost: { id: 1, table: "t", columns: ["a"], reason: "why", rows: ["kQE="] },
    }),
  ],
  feed: (bytes) => mayThrow([SchemaEntryError], () => void decodeSchemaEntry(bytes)),
});

export const configurationChanges: MakeTarget = (random: Random) => ({
  name: "configuration changes",
  samples: [
    encodeConfigChange({
      steps: [
        { type: ConfigChangeType.removeMember, member: 7 },
        { type: ConfigChangeType.addLearner, member: 0 },
      ],
      context: utf8(JSON.stringify({ peerId: asPeerId("p"), name: "n" })),
    }),
    encodeConfigChange({
      steps: [{ type: ConfigChangeType.addVoter, member: 2 ** 40 }],
      transition: ConfigChangeTransition.jointExplicit,
      context: randomBytes(random, 4),
    }),
  ],
  feed: (bytes) => mayThrow([RangeError], () => void decodeConfigChange(bytes)),
});
