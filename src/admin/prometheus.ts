/** Metrics in the text format of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/ */
import type { Metric } from "../operations/api.ts";

const escape = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

export function renderMetrics(metrics: readonly Metric[]): string {
  const lines: string[] = [];
  for (const { name: own, help, type, samples } of metrics) {
    // These names are those of every exporter.
    const name = own.startsWith("process_") ? own : `marmot_${own}`;
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const { suffix = "", labels, value } of samples) {
      const list = Object.entries(labels ?? {}).map(([k, v]) => `${k}="${escape(v)}"`);
      lines.push(`${name}${suffix}${list.length === 0 ? "" : `{${list.join(",")}}`} ${value}`);
    }
  }
  return `${lines.join("\n")}\n`;
}
