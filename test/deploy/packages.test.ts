/** The files of a release: made of a small stand-in for the binary, read by the tools of the systems that use them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VERBS } from "../../src/cli/main.ts";
import { environmentName } from "../../src/cli/options/options.ts";
import { partsOf } from "../../scripts/lib/packages/bill.ts";
import { TARGETS } from "../../scripts/lib/packages/targets.ts";
import { zip } from "../../scripts/lib/packages/archive.ts";

const ROOT = join(import.meta.dir, "../..");
const FAKE = "#!/bin/sh\necho marmot 9.9.9 of the test\n";
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
let folder = "";
let out = "";

const run = (
  argv: readonly string[],
  more: { cwd?: string; env?: Record<string, string> } = {},
): { code: number; text: string; err: string } => {
  const env = { ...(process.env as Record<string, string>), ...more.env };
  const done = Bun.spawnSync([...argv], { cwd: more.cwd ?? folder, env, stdout: "pipe", stderr: "pipe" });
  return { code: done.exitCode, text: done.stdout.toString(), err: done.stderr.toString() };
};
function makePackages(to: string): void {
  const argv = [
    "scripts/package.ts",
    "--target",
    "linux-x64",
    "--out",
    to,
    "--binary",
    join(folder, "fake"),
    "--url",
    "https://host/v1",
  ];
  const { code, err } = run([process.execPath, ...argv], { cwd: ROOT });
  expect([code, err]).toEqual([0, ""]);
}
const sums = (of: string): [hash: string, name: string][] =>
  readFileSync(join(of, "SHA256SUMS"), "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split("  ") as [string, string]);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-packages-"));
  out = join(folder, "out");
  writeFileSync(join(folder, "fake"), FAKE);
  makePackages(out);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("every file is in SHA256SUMS with its hash, and made again it has the same bytes", () => {
  const names = sums(out).map(([, name]) => name);
  expect(names).toEqual(
    readdirSync(out)
      .filter((name) => name !== "SHA256SUMS")
      .sort(),
  );
  for (const [hash, name] of sums(out))
    expect(
      createHash("sha256")
        .update(readFileSync(join(out, name)))
        .digest("hex"),
    ).toBe(hash);
  makePackages(join(folder, "again"));
  expect(sums(join(folder, "again"))).toEqual(sums(out));
}, 60_000);

test("the archive has the binary, licences, manual page, completions and unit", () => {
  const name = `marmot-${version}-linux-x64`;
  const { text } = run(["tar", "-tzf", join(out, `${name}.tar.gz`)]);
  for (const path of [
    "marmot",
    "LICENSE",
    "LICENSES-OF-PARTS.txt",
    "man/marmot.1",
    "completions/_marmot",
    "systemd/marmot@.service",
  ])
    expect(text.split("\n")).toContain(`${name}/${path}`);
});

test.skipIf(Bun.which("python3") === null)("a zip archive is read by others, with its modes", () => {
  const file = join(folder, "a.zip");
  writeFileSync(
    file,
    zip(
      [
        { path: "a/b.txt", bytes: Buffer.from("text") },
        { path: "a/run", bytes: Buffer.from(FAKE), mode: 0o755 },
      ],
      1_700_000_000,
    ),
  );
  const script = `import zipfile; z = zipfile.ZipFile("${file}"); assert z.testzip() is None; print([(i.filename, oct(i.external_attr >> 16), i.date_time[0]) for i in z.infolist()])`;
  expect(run(["python3", "-c", script]).text.trim()).toBe(
    "[('a/b.txt', '0o100644', 2023), ('a/run', '0o100755', 2023)]",
  );
});

describe.skipIf(Bun.which("dpkg-deb") === null)("the Debian package", () => {
  const file = (): string => join(out, `marmot_${version}_amd64.deb`);
  test("has its fields, and its files with the sums that it tells", () => {
    const { code, text } = run([
      "dpkg-deb",
      "--field",
      file(),
      "Package",
      "Version",
      "Architecture",
      "Depends",
    ]);
    expect([code, text]).toEqual([
      0,
      `Package: marmot\nVersion: ${version}\nArchitecture: amd64\nDepends: libc6 (>= 2.28), adduser\n`,
    ]);
    const to = join(folder, "deb");
    expect(run(["dpkg-deb", "-R", file(), to]).code).toBe(0);
    expect(run(["md5sum", "-c", "--quiet", "DEBIAN/md5sums"], { cwd: to }).code).toBe(0);
    expect(run([join(to, "usr/bin/marmot")]).text).toBe("marmot 9.9.9 of the test\n");
    for (const script of ["postinst", "prerm"])
      expect(run(["sh", "-n", join(to, "DEBIAN", script)]).code).toBe(0);
  });
});

test.skipIf(Bun.which("systemd-analyze") === null)("the unit is hardened, as systemd counts it", () => {
  const { text, err } = run([
    "systemd-analyze",
    "security",
    "--offline=true",
    "--no-pager",
    join(ROOT, "deploy/systemd/marmot@.service"),
  ]);
  const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(text + err)?.[1]);
  expect(exposure).toBeLessThan(3);
});

describe("the install script", () => {
  const install = (from: string, prefix: string): ReturnType<typeof run> =>
    run(["sh", join(from, "install.sh")], { env: { MARMOT_URL: `file://${from}`, PREFIX: prefix } });
  const isLinux = process.platform === "linux" && process.arch === "x64";

  test.skipIf(!isLinux)("installs the binary whose checksum is right", () => {
    const prefix = join(folder, "prefix");
    const { code, text, err } = install(out, prefix);
    expect([code, text, err]).toEqual([0, "marmot 9.9.9 of the test\n", ""]);
    expect(statSync(join(prefix, "bin/marmot")).mode & 0o777).toBe(0o755);
    expect(readdirSync(join(prefix, "bin"))).toEqual(["marmot"]);
  });
  test.skipIf(!isLinux)("refuses a changed archive, and a release without this platform", () => {
    const changed = join(folder, "changed");
    cpSync(out, changed, { recursive: true });
    writeFileSync(join(changed, `marmot-${version}-linux-x64.tar.gz`), "changed");
    const refused = install(changed, join(folder, "none"));
    expect(refused.code).toBe(1);
    expect(refused.err).toContain("has the checksum");
    expect(existsSync(join(folder, "none"))).toBe(false);
    writeFileSync(join(changed, "SHA256SUMS"), "");
    expect(install(changed, join(folder, "none")).err).toContain("the release has no archive for linux-x64");
  });
  test.skipIf(!isLinux)("chooses musl by the system's own programs, and asks for its libstdc++", () => {
    const tools = join(folder, "alpine");
    mkdirSync(tools, { recursive: true });
    writeFileSync(join(tools, "ldd"), "#!/bin/sh\necho '/lib/ld-musl-x86_64.so.1 (0x7f0000000000)'\n", {
      mode: 0o755,
    });
    const refused = run(["sh", join(out, "install.sh")], {
      env: {
        MARMOT_URL: `file://${out}`,
        PREFIX: join(folder, "none"),
        PATH: `${tools}:${process.env.PATH}`,
      },
    });
    const answer = existsSync("/usr/lib/libstdc++.so.6")
      ? "the release has no archive for linux-x64-musl"
      : "marmot: the binary needs libstdc++\nhint: apk add libstdc++\n";
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining(answer)]);
  });
  test("knows every archive of the table by name", () => {
    const script = readFileSync(join(out, "install.sh"), "utf8");
    expect(script).toContain("url=${MARMOT_URL:-https://host/v1}");
    for (const { name, archive } of TARGETS.filter((t) => t.archive === "tar.gz")) {
      const [os, cpu] = name.split("-");
      expect([archive, script.includes(`os=${os}`), script.includes(`cpu=${cpu}`)]).toEqual([
        "tar.gz",
        true,
        true,
      ]);
    }
  });
});

test("the bill of materials has every package of the binary, and each has its licence in the archive", () => {
  const bom = JSON.parse(readFileSync(join(out, `marmot-${version}.cdx.json`), "utf8")) as {
    bomFormat: string;
    components: { name: string; purl: string; licenses: unknown[]; "bom-ref": string }[];
  };
  expect(bom.bomFormat).toBe("CycloneDX");
  const parts = partsOf(ROOT);
  const names = bom.components.map((c) => c.name);
  for (const { name } of parts) expect(names).toContain(name);
  expect(names).toContain("bun");
  expect(names).not.toContain("axe-core");
  expect(parts.filter((p) => p.license === "")).toEqual([]);
  const name = `marmot-${version}-linux-x64`;
  const { text } = run(["tar", "-xzOf", join(out, `${name}.tar.gz`), `${name}/LICENSES-OF-PARTS.txt`]);
  for (const part of parts) expect(text).toContain(`\n${part.name} ${part.version} (${part.license})\n`);
});

test("the formula names the archive with its hash", () => {
  const text = readFileSync(join(out, "marmot.rb"), "utf8");
  const [hash] = sums(out).find(([, name]) => name === `marmot-${version}-linux-x64.tar.gz`)!;
  expect(text).toContain('on_macos do\n    depends_on "sqlite"');
  expect(text).toContain(`url "https://host/v1/marmot-${version}-linux-x64.tar.gz"\n      sha256 "${hash}"`);
  if (Bun.which("ruby") !== null) expect(run(["ruby", "-c", join(out, "marmot.rb")]).code).toBe(0);
});

test("two builds of one tree are one binary", () => {
  const hashes = ["one", "two"].map((name) => {
    mkdirSync(join(folder, name));
    // The name is a part of the binary.
    const path = join(folder, name, "marmot");
    const done = run([process.execPath, "scripts/build.ts", "--out", path], {
      cwd: ROOT,
      env: { MARMOT_COMMIT: "test" },
    });
    expect([done.code, done.err]).toEqual([0, expect.any(String)]);
    return createHash("sha256").update(readFileSync(path)).digest("hex");
  });
  expect(hashes[0]).toBe(hashes[1]);
}, 120_000);

describe("manifests", () => {
  const variables = new Set(VERBS[0]!.options.map((o) => environmentName(o.name)));
  interface Container {
    readonly name: string;
    readonly env?: readonly { readonly name: string; readonly value?: string }[];
    readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
    readonly volumeMounts: readonly { readonly name: string }[];
    readonly livenessProbe?: { readonly httpGet: { readonly path: string; readonly port: string } };
    readonly readinessProbe?: { readonly httpGet: { readonly path: string; readonly port: string } };
  }
  interface Manifest {
    readonly kind: string;
    readonly metadata: { readonly name: string };
    readonly spec: Record<string, never>;
  }

  test("Kubernetes: options that exist, probes without a token, volumes that exist, a budget for one", () => {
    const all = Bun.YAML.parse(
      readFileSync(join(ROOT, "deploy/kubernetes/marmot.yaml"), "utf8"),
    ) as Manifest[];
    expect(all.map((m) => m.kind)).toEqual(["Service", "PodDisruptionBudget", "StatefulSet"]);
    const [service, budget, set] = all as [Manifest, Manifest, Manifest];
    const spec = set.spec as unknown as {
      serviceName: string;
      replicas: number;
      template: { spec: { containers: Container[]; volumes: { name: string }[] } };
      volumeClaimTemplates: { metadata: { name: string } }[];
    };
    expect(spec.serviceName).toBe(service.metadata.name);
    expect((budget.spec as unknown as { maxUnavailable: number }).maxUnavailable).toBe(1);
    const { containers, volumes } = spec.template.spec;
    const node = containers[0]!;
    const value = (name: string): string => node.env!.find((e) => e.name === name)!.value!;
    for (const { name } of node.env!)
      expect([name, name === "POD" || variables.has(name)]).toEqual([name, true]);
    expect(value("MARMOT_PEERS").split(",")).toHaveLength(spec.replicas);
    expect(value("MARMOT_BOOTSTRAP_EXPECT")).toBe(String(spec.replicas));
    expect(value("MARMOT_ADMIN_PUBLIC").split(",")).toEqual(["health", "ready", "metrics"]);
    expect(node.livenessProbe!.httpGet).toEqual({ path: "/healthz", port: "admin" });
    expect(node.readinessProbe!.httpGet).toEqual({ path: "/readyz", port: "admin" });
    expect(node.ports!.map((p) => p.containerPort)).toEqual([8160, 6010]);
    const known = [...volumes, ...spec.volumeClaimTemplates.map((v) => v.metadata)].map((v) => v.name);
    for (const { volumeMounts } of containers)
      for (const { name } of volumeMounts) expect(known).toContain(name);
  });

  test("Compose: three nodes that know each other, options that exist, one key", () => {
    const compose = Bun.YAML.parse(readFileSync(join(ROOT, "compose.yaml"), "utf8")) as {
      services: Record<string, { environment?: Record<string, string>; volumes: string[] }>;
      volumes: Record<string, unknown>;
    };
    const nodes = Object.entries(compose.services).filter(([name]) => name.startsWith("node-"));
    expect(nodes).toHaveLength(3);
    for (const [name, { environment = {}, volumes }] of nodes) {
      for (const variable of Object.keys(environment))
        expect([variable, variables.has(variable)]).toEqual([variable, true]);
      expect(environment.MARMOT_NAME).toBe(name);
      expect(environment.MARMOT_PEERS).toContain(environment.MARMOT_ANNOUNCE!);
      expect(Object.keys(compose.volumes)).toContain(volumes[0]!.split(":")[0]!);
    }
  });

  test.skipIf(Bun.which("python3") === null)("the small application writes rows with plain SQLite", () => {
    const path = join(folder, "app.db");
    mkdirSync(folder, { recursive: true });
    new Database(path).close();
    writeFileSync(path, "");
    const env = { APP_DB: path, APP_ROWS: "3", APP_PAUSE: "0" };
    expect(run(["python3", join(ROOT, "deploy/container/app.py")], { env }).text).toContain("3 visits");
  });
});
