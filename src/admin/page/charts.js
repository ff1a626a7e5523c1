// Lines in SVG, without a library.
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Points of a line; a value that is null ends a piece. */
function pieces(values, { width, height, top, max }) {
  const step = values.length > 1 ? width / (values.length - 1) : width;
  const lines = [[]];
  values.forEach((value, i) => {
    if (value === null || value === undefined) {
      if (lines.at(-1).length > 0) lines.push([]);
      return;
    }
    lines.at(-1).push(`${(i * step).toFixed(1)},${(top + height - (value / max) * height).toFixed(1)}`);
  });
  return lines.filter((line) => line.length > 0);
}

/** A line, or a dot where one value is alone. */
function stroke(points, className) {
  if (points.length > 1) return svg("polyline", { class: className, points: points.join(" ") });
  const [cx, cy] = points[0].split(",");
  return svg("circle", { class: className, cx, cy, r: 1.5 });
}

/** A small line without axes. */
function sparkline(values, label) {
  const [width, height] = [80, 18];
  const max = Math.max(1, ...values.map((v) => v ?? 0));
  const node = svg("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  for (const line of pieces(values, { width, height: height - 3, top: 1.5, max }))
    node.append(stroke(line, "line"));
  return node;
}

const HALF_HOUR_MS = 1_800_000;

/** `series`: {name, values}[]; `show`: a value as text. */
function plot(series, { stepMs, show, empty }) {
  const [width, height, left, bottom] = [460, 130, 52, 18];
  const count = Math.max(2, ...series.map((s) => s.values.length));
  const highest = Math.max(0, ...series.flatMap((s) => s.values.map((v) => v ?? 0)));
  const max = highest > 0 ? highest * 1.1 : 1;
  const spanMs = (count - 1) * stepMs;
  const now = series.map((s) => `${s.name} ${s.values.at(-1) == null ? "none" : show(s.values.at(-1))}`);
  const label = highest > 0 ? `${now.join(", ")}; highest ${show(highest)}` : empty;
  const node = svg("svg", {
    class: "plot",
    viewBox: `0 0 ${width} ${height + bottom}`,
    role: "img",
    "aria-label": label,
  });
  for (const share of [0, 0.5, 1]) {
    const y = 6 + (height - 6) * (1 - share);
    node.append(svg("line", { class: "grid", x1: left, x2: width, y1: y, y2: y }));
    const text = svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" });
    text.textContent = show(max * share);
    node.append(text);
  }
  const start = svg("text", { x: left, y: height + 14 });
  start.textContent =
    spanMs >= HALF_HOUR_MS ? `${Math.round(spanMs / 60_000)} min ago` : `${Math.round(spanMs / 1000)} s ago`;
  const end = svg("text", { x: width, y: height + 14, "text-anchor": "end" });
  end.textContent = "now";
  node.append(start, end);
  series.forEach((s, i) => {
    const group = svg("g", { transform: `translate(${left} 0)` });
    for (const line of pieces(s.values, { width: width - left, height: height - 6, top: 6, max }))
      group.append(stroke(line, i === 0 ? "line" : "line second"));
    node.append(group);
  });
  return node;
}
