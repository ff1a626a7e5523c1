/** File systems that are refused, by the type that the system gives. */
import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileSystemProblems } from "../../src/node/startup/file-systems.ts";

const DB = join(tmpdir(), "a", "folder", "that", "does", "not", "exist", "app.db");

test("network and passthrough file systems are refused for the file and for the data directory", () => {
  for (const [type, name] of [
    [0x6969, "NFS"],
    [0xff534d42, "CIFS"],
    [0xff534d42 | 0, "CIFS"], // as a signed number
    [0x65735546, "FUSE or virtiofs"],
    [0x01021997, "9p"],
  ] as const) {
    const problems = fileSystemProblems(DB, `${DB}.marmot`, () => type);
    expect(problems.map(({ message }) => message.includes(name))).toEqual([true, true]);
    expect(problems[0]!.message).toContain(DB);
    expect(problems[0]!.hint).toContain("--unsafe-filesystem");
  }
});

test("local file systems are not: ext4, XFS, Btrfs, tmpfs, overlay", () => {
  for (const type of [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630])
    expect(fileSystemProblems(DB, `${DB}.marmot`, () => type)).toEqual([]);
});

test("only the place on such a file system is named, by its nearest folder that exists", () => {
  const asked: string[] = [];
  const problems = fileSystemProblems("/elsewhere/app.db", tmpdir(), (folder) => {
    asked.push(folder);
    return folder === "/" ? 0x6969 : 0xef53;
  });
  expect(asked).toEqual(["/", tmpdir()]);
  expect(problems.map(({ message }) => message.split(" ")[0])).toEqual(["/elsewhere/app.db"]);
});

test("a folder that cannot be asked, and the real temporary folder, are no problem", () => {
  expect(
    fileSystemProblems(DB, null, () => {
      throw new Error("EACCES");
    }),
  ).toEqual([]);
});
