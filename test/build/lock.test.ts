/** The lock files: for every platform, of exact versions, without a registry host and without a cause for warnings. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const read = (name: string): string => readFileSync(join(import.meta.dir, "../..", name), "utf8");

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
  readonly deprecated?: string;
  readonly engines?: { readonly node?: string };
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };

test("each dependency has an exact version, the same in both lock files", () => {
  const { dependencies, devDependencies } = JSON.parse(read("package.json")) as Record<
    string,
    Record<string, string>
  >;
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    const exact = /^(?:npm:@?[^@]+@)?(\d+\.\d+\.\d+)$/.exec(version);
    expect([name, version, exact === null]).toEqual([name, version, false]);
    expect([name, packages[`node_modules/${name}`]?.version]).toEqual([name, exact![1]!]);
    expect(read("bun.lock")).toContain(`@${exact![1]!}"`);
  }
});

test("package-lock.json has the packages of all platforms, which npm ci requires", () => {
  const missing = Object.values(packages)
    .flatMap((p) => Object.keys(p.optionalDependencies ?? {}))
    .filter((name) => !Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`)));
  expect(missing).toEqual([]);
});

test("npm ci has no reason for a warning: no deprecated package, every install script approved or denied", () => {
  const { allowScripts, engines } = JSON.parse(read("package.json")) as {
    allowScripts: Record<string, boolean>;
    engines: Record<string, string>;
  };
  const installing = Object.entries(packages).filter(([, p]) => p.hasInstallScript);
  expect(installing.map(([path]) => path.split("node_modules/").at(-1)!).sort()).toEqual(
    Object.keys(allowScripts).sort(),
  );
  expect(Object.entries(packages).flatMap(([path, p]) => (p.deprecated === undefined ? [] : [path]))).toEqual(
    [],
  );
  // Every package accepts the oldest Node that package.json names.
  const oldest = /^>=(\d+\.\d+)$/.exec(engines.node!)![1]!;
  for (const [path, { engines: needed }] of Object.entries(packages))
    if (needed?.node !== undefined)
      expect([path, Bun.semver.satisfies(`${oldest}.0`, needed.node)]).toEqual([path, true]);
});

test("the lock files name no registry host, and each package has a checksum", () => {
  expect(read("package-lock.json")).not.toContain('"resolved"');
  for (const lock of ["bun.lock", "test/apps/drizzle/bun.lock"])
    expect(read(lock)).not.toMatch(/https?:\/\//);
  for (const [path, { integrity }] of Object.entries(packages))
    if (path !== "") expect([path, integrity?.startsWith("sha512-")]).toEqual([path, true]);
});
