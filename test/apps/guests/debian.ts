/** Applications of Debian's archive. Their packages are unpacked beside the tests, not installed; calibre is too large for that. */
import { join } from "node:path";
import { execute, install, type Installed } from "../packages.ts";
import type { Guest } from "./guest.ts";

const FOLDER = join(import.meta.dir, "debian");

/** Downloads packages with the machine's client and unpacks them into `root`. Other libraries are the machine's. */
const unpacked = (name: string, packages: readonly string[]): Promise<Installed> =>
  install({
    name,
    version: ["apt-get", "--version"],
    from: FOLDER,
    files: [],
    commands: [
      ["sh", "-c", `cd "$0" && apt-get download ${packages.join(" ")}`, "%"],
      ["sh", "-c", `cd "$0" && for file in *.deb; do dpkg-deb -x "$file" root || exit 1; done`, "%"],
    ],
  });

/** A program of the machine. */
async function program(name: string, hint: string): Promise<Installed> {
  if (Bun.which(name) === null) return { folder: null, missing: `there is no ${name} here: ${hint}` };
  const { code } = await execute({ words: [name, "--version"], folder: FOLDER });
  return code === 0 ? { folder: FOLDER, missing: null } : { folder: null, missing: `${name} fails` };
}

type Options = Omit<Guest, "command"> & {
  readonly script: string;
  readonly environment?: (folder: string) => Readonly<Record<string, string>>;
};

const guest = ({ script, environment, ...rest }: Options): Guest => ({
  command: (folder, verb, db, ...args) => ({
    words: ["python3", `${script}.py`, verb, db, ...args],
    folder: FOLDER,
    environment: { PYTHONDONTWRITEBYTECODE: "1", ...environment?.(folder) },
  }),
  ...rest,
});

const powerDns = (): Promise<Installed> =>
  unpacked("powerdns", [
    ...["pdns-server", "pdns-backend-sqlite3", "libluajit-5.1-2", "libluajit-5.1-common"],
  ]);

export const DEBIAN_GUESTS: readonly Guest[] = [
  guest({
    name: "powerdns",
    title: "PowerDNS with gsqlite3, its own schema, zones made on one node",
    install: powerDns,
    writers: "one",
    script: "powerdns",
    environment: (folder) => ({ PDNS: folder }),
  }),
  guest({
    name: "powerdns-ids",
    title: "PowerDNS with gsqlite3, its schema with AUTOINCREMENT, zones made on all nodes",
    install: powerDns,
    writers: "all",
    script: "powerdns",
    environment: (folder) => ({ PDNS: folder, AUTOINCREMENT: "yes" }),
  }),
  guest({
    name: "fossil",
    title: "Fossil, whose connections fire no triggers",
    install: () => unpacked("fossil", ["fossil", "libfuse2"]),
    writers: "one",
    script: "fossil",
    environment: (folder) => ({ FOSSIL: folder }),
    migrateBefore: true,
    afterFill: ["verify", "--publish"],
  }),
  guest({
    name: "calibre",
    title: "calibre's library by calibredb, books added on one node",
    install: () => program("calibredb", "apt-get install --no-install-recommends calibre"),
    writers: "one",
    script: "calibre",
    migrateBefore: true,
  }),
];
