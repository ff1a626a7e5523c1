/** Metrics, alert rules and dashboard: the format, and names that exist. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { renderMetrics } from "../../src/admin/prometheus.ts";
import { Histogram, quantile } from "../../src/base/measure/histogram.ts";
import { histogram } from "../../src/operations/health/metric.ts";
import { earlyMetrics } from "../../src/operations/health/process-metrics.ts";
import { FakeNode } from "../admin/fake-node.ts";
import { offencesIn } from "./metrics-text.ts";

const ROOT = join(import.meta.dir, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const promtool = Bun.which("promtool");
const documented = new Set([...read("docs/metrics.md").matchAll(/^\| `(\w+)/gm)].map((m) => m[1]!));

/** The names of metrics in an expression, without the suffixes of histograms. */
const namesIn = (text: string): string[] =>
  [...text.matchAll(/\b(?:marmot|process)_[a-z_]+/g)].map((m) => m[0].replace(/_(?:bucket|sum|count)$/, ""));

test("the first metrics of a process are well formed: versions, CPU, memory, not ready", () => {
  const text = renderMetrics(earlyMetrics(Date.now()));
  expect(offencesIn(text)).toEqual([]);
  expect(text).toContain("\nmarmot_ready 0\n");
  expect(text).toMatch(
    /^marmot_build_info\{version="[^"]+",commit="[^"]*",bun="[^"]+",sqlite="3[^"]+"\} 1$/m,
  );
  const started = Number(/^process_start_time_seconds (\S+)$/m.exec(text)![1]);
  expect(Math.abs(started - (Date.now() / 1000 - process.uptime()))).toBeLessThan(60);
});

describe("a histogram", () => {
  test("has rising buckets, a sum and a count", () => {
    const measured = new Histogram([0.1, 1]);
    for (const value of [0.05, 0.1, 0.5, 7]) measured.observe(value);
    const text = renderMetrics([histogram("took_seconds", "time", measured)]);
    expect(offencesIn(text)).toEqual([]);
    expect(text.split("\n").slice(2, -1)).toEqual([
      'marmot_took_seconds_bucket{le="0.1"} 2',
      'marmot_took_seconds_bucket{le="1"} 3',
      'marmot_took_seconds_bucket{le="+Inf"} 4',
      "marmot_took_seconds_sum 7.65",
      "marmot_took_seconds_count 4",
    ]);
  });
  test("gives the quantiles of the observations between two readings", () => {
    const measured = new Histogram([1, 2, 4]);
    measured.observe(100);
    const from = measured.read();
    expect(quantile(measured.bounds, { from, to: measured.read() }, 0.5)).toBeNull();
    for (let i = 0; i < 100; i++) measured.observe(i < 50 ? 0.5 : 3);
    const at = (q: number): number | null => quantile(measured.bounds, { from, to: measured.read() }, q);
    expect([at(0.25), at(0.5), at(0.75), at(1)]).toEqual([0.5, 1, 3, 4]);
  });
});

describe("deploy/", () => {
  test("rules and dashboard name only metrics that a node has", () => {
    const rules = read("deploy/prometheus/marmot-alerts.yml");
    const dashboard = JSON.parse(read("deploy/grafana/marmot.json")) as {
      panels: { title: string; targets: { expr: string }[] }[];
    };
    const used = [
      ...[...rules.matchAll(/^ +expr: (.+)$/gm)].flatMap((m) => namesIn(m[1]!)),
      ...dashboard.panels.flatMap((p) => p.targets.flatMap((t) => namesIn(t.expr))),
    ];
    expect(used.length).toBeGreaterThan(30);
    expect(used.filter((name) => !documented.has(name))).toEqual([]);
  });
  test.skipIf(promtool === null)("promtool accepts the rules, and each fires when it should", () => {
    const cwd = join(ROOT, "deploy/prometheus");
    for (const argv of [
      ["check", "rules", "marmot-alerts.yml"],
      ["test", "rules", "marmot-alerts.test.yml"],
    ]) {
      const done = Bun.spawnSync([promtool!, ...argv], { cwd });
      expect([argv[0], done.exitCode, done.exitCode === 0 ? "" : done.stdout.toString()]).toEqual([
        argv[0],
        0,
        "",
      ]);
    }
  });
});

test("offences of the format are found", () => {
  const good = "# HELP a_total x\n# TYPE a_total counter\na_total 1\n";
  expect(offencesIn(good)).toEqual([]);
  for (const bad of [
    good.slice(0, -1),
    good.replace("# HELP a_total x\n", ""),
    good.replaceAll("a_total", "a"),
    good + good,
    `${good}a_total 2\n`,
    good.replace("a_total 1", "a_total one"),
    good.replace("a_total 1", "b_total 1"),
    good.replaceAll("a_total", "a_ms_total"),
  ])
    expect([bad, offencesIn(bad).length > 0]).toEqual([bad, true]);
});

test("a label's quotes, backslashes and line ends are escaped", () => {
  expect(offencesIn(renderMetrics(new FakeNode().metrics()))).toEqual([]);
});
