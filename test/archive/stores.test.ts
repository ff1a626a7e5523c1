/** An archive in a folder: files that a killed process left. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DirStore } from "../../src/archive/stores/dir-store.ts";
import { temporaryFolder } from "./lab.ts";

const DAY_MS = 24 * 3_600_000;

test("files that are not complete are swept when they are old, in each folder, and nothing else is", async () => {
  const folder = temporaryFolder();
  try {
    const store = new DirStore(folder.path);
    const bytes = Buffer.from("x");
    for (const name of ["archive.json", "chain/000000/0000000001", "copies/one"])
      await store.put(name, bytes);
    const old = ["chain/000000/.1-2.partial", ".a.partial"].map((name) => join(folder.path, name));
    const fresh = join(folder.path, "copies/.3-4.partial");
    for (const path of [...old, fresh]) writeFileSync(path, bytes);
    const now = Date.now();
    for (const path of [...old, join(folder.path, "copies/one")])
      utimesSync(path, (now - 2 * DAY_MS) / 1000, (now - 2 * DAY_MS) / 1000);
    await store.sweep(now - DAY_MS);
    expect(old.map((path) => existsSync(path))).toEqual([false, false]);
    expect(readdirSync(folder.path).sort()).toEqual(["archive.json", "chain", "copies"]);
    expect(readdirSync(join(folder.path, "copies")).sort()).toEqual([".3-4.partial", "one"]);
    // Nodes on two machines can have the same process number.
    const uploads = Array.from({ length: 20 }, (_, i) => store.create(`copies/${i}`, Buffer.from(`${i}`)));
    expect(await Promise.all(uploads)).not.toContain(false);
    expect(String(await store.get("copies/7"))).toBe("7");
  } finally {
    folder.remove();
  }
});
