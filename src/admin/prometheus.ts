/** Metrics in the text format of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/ */
import type { Metric } from "../operations/api.ts";

const escape = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

export function renderMetrics(metrics: readonly Metric[]): string {
  const lines: string[] = [];
  for (const { name, help, type, samples } of metrics) {
    lines.push(`# HELP marmot_${name} ${help}`, `# TYPE marmot_${name} ${type}`);
    for (const { labels, value } of samples) {
      const list = Object.entries(labels ?? {}).map(([k, v]) => `${k}="${escape(v)}"`);
      lines.push(`marmot_${name}${list.length === 0 ? "" : `{${list.join(",")}}`} ${value}`);
    }
  }
  return `${lines.join("\n")}\n`;
}
