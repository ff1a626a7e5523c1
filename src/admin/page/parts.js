// Elements, tables that keep their focus, dialogs, and values as text.
const byId = (id) => document.getElementById(id);

/** Control characters and marks of direction in texts of others; see src/base/visible.ts. */
const HIDDEN = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const visible = (text) =>
  text.replace(HIDDEN, (character) =>
    character === "\n" || character === "\t"
      ? character
      : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function span(ms) {
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}
const ago = (ms) => (ms < 3000 ? "now" : `${span(ms)} ago`);
const count = (n) => n.toLocaleString("en");
const plural = (n, unit) => `${count(n)} ${unit}${n === 1 ? "" : "s"}`;
const millis = (ms) => (ms >= 1000 ? span(ms) : ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`);

/** A cell that is made again only when its key changes, so that buttons keep the focus. */
const made = (key, make) => ({ key, make });

/**
 * Shows rows in a table. `columns`: {label, className}[]; `rows`: {key, cells}[], a cell is a text, or `made`. Rows that are
 * there already are changed in place.
 */
function showTable(box, columns, rows, { empty, label }) {
  if (rows.length === 0) {
    if (box.dataset.empty !== empty) box.replaceChildren(el("p", { class: "mut" }, empty));
    box.dataset.empty = empty;
    return;
  }
  let table = box.querySelector("table");
  if (table === null) {
    const heads = columns.map((c) =>
      el("th", { role: "columnheader", scope: "col", class: c.className ?? null }, c.label),
    );
    table = el(
      "table",
      { class: "stack", role: "table", "aria-label": label },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
      el("tbody", { role: "rowgroup" }),
    );
    delete box.dataset.empty;
    box.replaceChildren(table);
  }
  const body = table.tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach(({ key, cells }, at) => {
    const row = old.get(key) ?? newRow(key, columns);
    old.delete(key);
    cells.forEach((cell, i) => fill(row.cells[i], cell));
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
  });
  for (const row of old.values()) row.remove();
}

function newRow(key, columns) {
  const cells = columns.map((c) =>
    el("td", { role: "cell", "data-label": c.label === "" ? null : c.label, class: c.className ?? null }),
  );
  return el("tr", { role: "row", "data-key": key }, ...cells);
}

function fill(cell, content) {
  const key = typeof content === "object" && content !== null ? content.key : `text ${content}`;
  if (cell.dataset.content === key) return;
  cell.dataset.content = key;
  if (typeof content === "object" && content !== null) cell.replaceChildren(content.make());
  else cell.textContent = content ?? "";
}

/** Replaces the children of a box when the key changes. */
function show(box, key, make) {
  if (box.dataset.content === key) return;
  box.dataset.content = key;
  box.replaceChildren(...make());
}

const pill = (level, text) => el("span", { class: `pill ${level}` }, text);

/** `actions`: {label, className, run}[]; `run` may throw, and its message is shown. */
function ask({ title, body, actions }) {
  const dialog = byId("dialog");
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...body);
  byId("dialog-error").textContent = "";
  const close = el("button", { type: "submit" }, actions.length === 0 ? "Close" : "Cancel");
  const buttons = actions.map(({ label, className, run }) => {
    const button = el("button", { type: "button", class: className ?? null }, label);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await run();
        dialog.close();
      } catch (error) {
        byId("dialog-error").textContent = error.message;
      } finally {
        button.disabled = false;
      }
    });
    return button;
  });
  byId("dialog-actions").replaceChildren(close, ...buttons);
  dialog.showModal();
}
