/** The parts of the binary: a bill of materials in CycloneDX, and the licences of all of them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Part {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly integrity: string;
  readonly folder: string;
}

interface Locked {
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly name?: string;
}

/** The packages that are compiled into the binary, by name. */
export function partsOf(root: string): Part[] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, Locked>;
  };
  return Object.entries(lock.packages)
    .flatMap(([folder, { version, license, integrity, dev, name }]) =>
      folder === "" || dev === true || version === undefined
        ? []
        : [
            {
              name: name ?? folder.slice(folder.lastIndexOf("node_modules/") + "node_modules/".length),
              ...{ version, license: license ?? "", integrity: integrity ?? "", folder },
            },
          ],
    )
    .sort((a, b) => (`${a.name}@${a.version}` < `${b.name}@${b.version}` ? -1 : 1));
}

const purl = ({ name, version }: Part): string => `pkg:npm/${name.replace("@", "%40")}@${version}`;

function hashOf(integrity: string): { alg: string; content: string }[] {
  const [algorithm, value] = integrity.split("-", 2);
  if (algorithm !== "sha512" || value === undefined) return [];
  return [{ alg: "SHA-512", content: Buffer.from(value, "base64").toString("hex") }];
}

export function bill(
  root: string,
  { version, bun, time }: { version: string; bun: string; time: number },
): string {
  const parts = partsOf(root).map((part) => ({
    ...{ type: "library", "bom-ref": purl(part), name: part.name, version: part.version },
    licenses: [part.license.includes(" ") ? { expression: part.license } : { license: { id: part.license } }],
    hashes: hashOf(part.integrity),
    purl: purl(part),
  }));
  const runtime = {
    ...{ type: "platform", "bom-ref": `pkg:github/oven-sh/bun@${bun}`, name: "bun", version: bun },
    licenses: [{ license: { id: "MIT" } }],
    purl: `pkg:github/oven-sh/bun@${bun}`,
  };
  const document = {
    $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
    ...{ bomFormat: "CycloneDX", specVersion: "1.5", version: 1 },
    metadata: {
      timestamp: new Date(time * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": "marmot",
        name: "marmot",
        version,
        licenses: [{ license: { id: "MIT" } }],
      },
    },
    components: [runtime, ...parts],
    dependencies: [{ ref: "marmot", dependsOn: [runtime, ...parts].map((p) => p["bom-ref"]) }],
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

const LICENSE_FILE = /^(?:licen[cs]e|copying|notice)/i;

/** Marmot's own licence, that of its sample data, and each part's. */
export function licenses(root: string): string {
  const read = (path: string): string => readFileSync(join(root, path), "utf8").trim();
  const rule = "=".repeat(79);
  const sections = [
    `Marmot\n${rule}\n${read("LICENSE")}`,
    `The sample data of marmot demo\n${rule}\n${read("assets/chinook.LICENSE.md")}`,
    `Bun, which includes JavaScriptCore and SQLite\n${rule}\nMIT, with parts under LGPL-2 (WebKit); SQLite is in the public domain. https://bun.sh/docs/project/licensing`,
    ...partsOf(root).map((part) => {
      const folder = join(root, part.folder);
      const files = existsSync(folder)
        ? readdirSync(folder)
            .filter((name) => LICENSE_FILE.test(name))
            .sort()
        : [];
      const texts = files.map((name) => read(join(part.folder, name)));
      return `${part.name} ${part.version} (${part.license})\n${rule}\n${texts.join("\n\n") || `Licence: ${part.license}`}`;
    }),
  ];
  return `${sections.join("\n\n\n")}\n`;
}
