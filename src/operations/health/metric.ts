/** Metrics in the shapes of Prometheus, without the prefix of their names. */
import type { Histogram } from "../../base/measure/histogram.ts";
import type { Metric } from "../api.ts";

type Labels = Readonly<Record<string, string>>;
type Samples = readonly (readonly [labels: Labels, value: number | null])[];

const sampled =
  (type: Metric["type"]) =>
  (name: string, help: string, value: number | Samples): Metric => ({
    ...{ name, help, type },
    samples: (typeof value === "number" ? [[{}, value] as const] : value).flatMap(([labels, n]) =>
      n === null ? [] : [{ labels, value: n }],
    ),
  });

/** A value that is null is left out. */
export const gauge = sampled("gauge");
/** Its name ends with `_total`. */
export const counter = sampled("counter");

export function histogram(name: string, help: string, measured: Histogram): Metric {
  const { counts, sum, count } = measured.read();
  let below = 0;
  const buckets = counts.map((n, i) => ({
    suffix: "_bucket",
    labels: { le: String(measured.bounds[i] ?? "+Inf") },
    value: (below += n),
  }));
  const totals = [
    { suffix: "_sum", labels: {}, value: sum },
    { suffix: "_count", labels: {}, value: count },
  ];
  return { name, help, type: "histogram", samples: [...buckets, ...totals] };
}

/** A sample for each item, labelled with its text. */
export const labelled = <T>(
  items: readonly T[],
  label: string,
  of: (item: T) => readonly [text: string, value: number | null],
): Samples =>
  items.map((item) => {
    const [text, value] = of(item);
    return [{ [label]: text }, value];
  });
