/** Archives that depend on their contents alone: tar, zip and ar, with one time and no owner, in the given order. */
import { crc32, deflateRawSync, gzipSync } from "node:zlib";

export interface PackedFile {
  /** With slashes, and without one at the beginning. */
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Default 0o644. */
  readonly mode?: number;
}

const BLOCK = 512;

/** Of gzip: level 9, and no time or name in the head. */
export const gzip = (bytes: Uint8Array): Buffer => gzipSync(bytes, { level: 9 });

function tarHead(path: string, options: { size: number; mode: number; type: string; time: number }): Buffer {
  const head = Buffer.alloc(BLOCK);
  const cut =
    path.length <= 100 ? 0 : path.lastIndexOf("/", path.length - 1 - (path.length - 100 > 0 ? 0 : 1));
  const [prefix, name] = cut > 0 ? [path.slice(0, cut), path.slice(cut + 1)] : ["", path];
  if (name.length > 100 || prefix.length > 155) throw new Error(`${path} is too long for tar`);
  const octal = (value: number, at: number, length: number): void =>
    void head.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  head.write(name, 0);
  octal(options.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(options.size, 124, 12);
  octal(options.time, 136, 12);
  head.write("        ", 148);
  head.write(options.type, 156);
  head.write("ustar\0" + "00", 257, "latin1");
  head.write("root", 265);
  head.write("root", 297);
  head.write(prefix, 345);
  octal(
    head.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return head;
}

/** The folders above the files, each once, before them. */
function foldersOf(files: readonly PackedFile[]): string[] {
  const found = new Set<string>();
  for (const { path } of files)
    path
      .split("/")
      .slice(0, -1)
      .forEach((_, i, parts) => found.add(`${parts.slice(0, i + 1).join("/")}/`));
  return [...found].sort();
}

/** `time`: seconds since 1970. `root`: a folder for all, such as `./`. */
export function tar(files: readonly PackedFile[], time: number, root = ""): Buffer {
  const parts: Buffer[] = [];
  for (const folder of root === "" ? foldersOf(files) : [root, ...foldersOf(files).map((f) => root + f)])
    parts.push(tarHead(folder, { size: 0, mode: 0o755, type: "5", time }));
  for (const { path, bytes, mode = 0o644 } of files) {
    parts.push(tarHead(root + path, { size: bytes.length, mode, type: "0", time }), Buffer.from(bytes));
    parts.push(Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

/** The members of an `ar` archive, as a Debian package is one. */
export function ar(files: readonly PackedFile[], time: number): Buffer {
  const parts = [Buffer.from("!<arch>\n")];
  for (const { path, bytes } of files) {
    const head = [path.padEnd(16), String(time).padEnd(12), "0".padEnd(6), "0".padEnd(6), "100644".padEnd(8)];
    parts.push(Buffer.from(`${head.join("")}${String(bytes.length).padEnd(10)}\`\n`), Buffer.from(bytes));
    if (bytes.length % 2 === 1) parts.push(Buffer.from("\n"));
  }
  return Buffer.concat(parts);
}

const DEFLATED = 8;
const UNIX = 3 << 8;

/** Date and time as MS-DOS has them, in UTC. */
function dosTime(time: number): number {
  const at = new Date(time * 1000);
  const date = ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate();
  return (
    ((date << 16) | (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1)) >>> 0
  );
}

export function zip(files: readonly PackedFile[], time: number): Buffer {
  const bodies: Buffer[] = [];
  const entries: Buffer[] = [];
  let offset = 0;
  for (const { path, bytes, mode = 0o644 } of files) {
    const packed = deflateRawSync(bytes, { level: 9 });
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(DEFLATED, 4);
    shared.writeUInt32LE(dosTime(time), 6);
    shared.writeUInt32LE(crc32(bytes), 10);
    shared.writeUInt32LE(packed.length, 14);
    shared.writeUInt32LE(bytes.length, 18);
    shared.writeUInt16LE(Buffer.byteLength(path), 22);
    const entry = Buffer.alloc(14);
    entry.writeUInt32LE(((0o100000 | mode) << 16) >>> 0, 6);
    entry.writeUInt32LE(offset, 10);
    const made = Buffer.alloc(2);
    made.writeUInt16LE(20 | UNIX);
    entries.push(Buffer.from("PK\x01\x02", "latin1"), made, shared, entry, Buffer.from(path));
    const body = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), shared, Buffer.from(path), packed]);
    bodies.push(body);
    offset += body.length;
  }
  const directory = Buffer.concat(entries);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, directory, end]);
}
