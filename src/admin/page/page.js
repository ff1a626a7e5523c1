// The page of one node: asks the API every second while it is visible, and shows the answers.
const EVERY_MS = 1000;
/** History, tables and conflicts are asked for less often. */
const SLOW_TURNS = 10;
const MAX_EVENTS = 200;
/** Lines of the change feed, of one event, and characters of a row. */
const MAX_FEED = 100;
const MAX_LINES = 20;
const MAX_CHANGE = 160;
/** Conflicts whose rows are shown in the list, and how much of them. */
const MAX_DETAILS = 20;
const MAX_COLUMNS = 2;
const MAX_VALUE = 40;
const MARK = { ok: "●", warn: "▲", bad: "✖" };

class NeedsToken extends Error {}

async function call(method, path, headers = {}) {
  const answer = await fetch(path, { method, headers: { "x-marmot-page": "1", ...headers } });
  if (answer.status === 401) throw new NeedsToken("a token is needed");
  if (answer.status === 204) return null;
  const text = await answer.text();
  if (!answer.ok && !text.startsWith("{")) throw new Error(`${answer.status}: ${text.trim()}`);
  const body = JSON.parse(text, (_, value) => (typeof value === "string" ? visible(value) : value));
  if (!answer.ok)
    throw new Error(body.hint ? `${body.error} (hint: ${body.hint})` : (body.error ?? answer.statusText));
  return body;
}
const get = (path) => call("GET", path);
const post = (path) => call("POST", path);

let turn = 0;
let status = null;
let history = null;
let tables = null;
let conflicts = [];
let conflictsKey = "";
const details = new Map();
let lastEvent = 0;
const events = [];

async function refresh() {
  const slow = turn % SLOW_TURNS === 0;
  turn++;
  status = await get("/api/v1/status");
  const fresh = await get(`/api/v1/events?after=${lastEvent}`);
  for (const event of fresh.toReversed()) events.unshift(event);
  events.length = Math.min(events.length, MAX_EVENTS);
  lastEvent = events[0]?.id ?? 0;
  if (slow || history === null) {
    history = await get("/api/v1/history");
    tables = await get("/api/v1/tables");
  }
  const key = `${status.conflicts.total}/${status.conflicts.open}`;
  if (slow || key !== conflictsKey) {
    conflictsKey = key;
    conflicts = await get("/api/v1/conflicts?open=true&limit=50").catch(() =>
      get("/api/v1/conflicts?limit=50"),
    );
  }
  await readDetails();
  showAll();
}

/** Both rows of the conflicts in the list, once each. */
async function readDetails() {
  const ids = conflicts.slice(0, MAX_DETAILS).map((c) => c.id);
  for (const id of details.keys()) if (!ids.includes(id)) details.delete(id);
  for (const id of ids.filter((one) => !details.has(one)))
    details.set(id, await get(`/api/v1/conflicts/${encodeURIComponent(id)}`));
}

function showAll() {
  const { node, cluster, verdict } = status;
  const file = node.file.split("/").at(-1);
  document.title = `${MARK[verdict.level]} ${node.name} ${node.ready ? "ready" : node.state} – Marmot`;
  byId("name").textContent = node.name;
  const level = node.ready ? "ok" : verdict.level === "ok" ? "warn" : verdict.level;
  byId("state").className = `pill ${level}`;
  byId("state").textContent = node.ready ? "ready" : node.state === "waiting" ? "not ready" : node.state;
  const id = cluster.id === "" ? "no cluster yet" : `cluster ${cluster.id.slice(0, 8)}`;
  byId("about").textContent = `${id} · ${file} · ${node.version} · up ${span(node.uptimeMs)}`;
  showBanner(verdict, node);
  showProgress(status.progress);
  showTiles();
  showNodes();
  showShards();
  showConflicts();
  showPlots();
  showTables();
  showEvents();
}

function showBanner({ level, findings }, node) {
  const banner = byId("banner");
  banner.className = `card banner${level === "ok" ? "" : ` is-${level}`}`;
  const { voters, inTouch, mayLose } = status.quorum;
  const well = `All is well: ${inTouch} of ${plural(voters, "voter")} in touch, ${plural(Math.max(0, mayLose), "machine")} may fail`;
  // A time that passes must not be read aloud each second.
  const key = JSON.stringify([level, node.ready, findings.map((f) => f.text.replace(/\d+/g, "")), well]);
  show(banner, key, () => {
    const [first, ...others] = findings;
    const parts = level === "ok" ? [el("strong", {}, well)] : [el("strong", {}, first.text), advice(first)];
    const rest = level === "ok" ? findings : others;
    if (rest.length > 0) parts.push(el("ul", {}, ...rest.map((f) => el("li", {}, f.text, advice(f)))));
    return parts;
  });
}

function advice({ advice: text, command }) {
  if (text === "" && command === "") return el("span", {});
  const lead = command === "" ? text : `${text}${text === "" ? "" : ": "}`;
  return el("p", {}, lead, command === "" ? null : el("code", {}, command));
}

function showProgress(progress) {
  const box = byId("progress");
  box.hidden = progress === null;
  if (progress === null) return;
  const { work, done, total, unit } = progress;
  const text =
    total > 0 ? `${work}: ${count(done)} of ${count(total)} ${unit}` : `${work}: ${count(done)} ${unit}`;
  const bar = el("progress", { "aria-label": work, ...(total > 0 ? { max: total, value: done } : {}) });
  box.replaceChildren(el("p", {}, text), bar);
}

const tile = (label, value, note) =>
  el("div", { class: "tile" }, el("span", {}, label), el("b", {}, value), el("small", {}, note));

function showTiles() {
  const { pending, conflicts: found, verified } = status;
  const shown = history?.shown ?? null;
  const ordered = history?.ordered ?? null;
  const latency = shown ?? ordered;
  const settled = found.total - found.open;
  byId("tiles").replaceChildren(
    tile(
      "Pending here",
      plural(pending.changes, "change"),
      pending.changes === 0 ? "all are ordered" : `oldest ${span(pending.oldestMs)}`,
    ),
    tile(
      shown === null ? "Commit → ordered" : "Commit → shown here",
      latency === null ? "–" : millis(latency.p50Ms),
      latency === null ? "no writes in the last minute" : `p99 ${millis(latency.p99Ms)}, last minute`,
    ),
    tile(
      "Conflicts to look at",
      count(found.open),
      settled === 0 ? "none was settled" : `${count(settled)} settled`,
    ),
    tile(
      verified === null ? "Verified" : verified.equal ? "Last verified equal" : "Last verify: NOT EQUAL",
      verified === null ? "–" : ago(verified.agoMs),
      verified === null
        ? "not since the start"
        : `${plural(verified.rows, "row")}, ${plural(verified.nodes, "node")}`,
    ),
  );
}

const NODE_COLUMNS = [
  { label: "Name" },
  { label: "State" },
  { label: "Leads" },
  { label: "Behind", className: "n" },
  { label: "Round trip", className: "n" },
  { label: "Last hour" },
  { label: "Version" },
  { label: "Address" },
  { label: "Change" },
];

function leads({ leads: shards }) {
  if (shards.length === 0) return "–";
  return shards.length > 4 ? plural(shards.length, "shard") : `shard ${shards.join(", ")}`;
}

function stateOf(m) {
  if (m.connected) return made(`ok ${m.role}`, () => pill("ok", m.role));
  const text = m.lastSeenMs === null ? "not seen yet" : `no answer for ${span(m.lastSeenMs)}`;
  return made(text, () => pill("bad", text));
}

function behind(m) {
  if (m.lagEntries === null) return "?";
  return m.lagEntries === 0 ? "0" : `${count(m.lagEntries)} · ${span(m.lagMs ?? 0)}`;
}

const shortAddress = (address) =>
  /^\/(?:ip[46]|dns[46]?)\/([^/]+)\/tcp\/(\d+)/
    .exec(address ?? "")
    ?.slice(1)
    .join(":") ??
  address ??
  "";

function showNodes() {
  const rows = status.members.map((m) => {
    const isOwn = m.peerId === status.node.peerId;
    const values = (history?.samples ?? []).map((s) =>
      isOwn ? s.entriesPerSecond : (s.lag[m.name] ?? null),
    );
    const name = isOwn
      ? [el("b", {}, m.name), el("span", { class: "mut" }, " this node")]
      : [el("b", {}, m.name)];
    const what = isOwn
      ? `entries a second in the last hour on ${m.name}`
      : `entries that ${m.name} lacked in the last hour`;
    return {
      key: m.peerId,
      cells: [
        made(`${m.name}${isOwn}`, () => el("span", {}, ...name)),
        stateOf(m),
        leads(m),
        behind(m),
        m.roundTripMs === null ? "–" : millis(m.roundTripMs),
        made(`line ${JSON.stringify(values)}`, () => sparkline(values, what)),
        m.version,
        made(m.addresses[0] ?? "", () => el("code", {}, shortAddress(m.addresses[0]))),
        made(`${m.name} ${m.role} ${m.connected}`, () => memberButtons(m)),
      ],
    };
  });
  showTable(byId("nodes"), NODE_COLUMNS, rows, {
    empty: "This node is no member of a cluster yet.",
    label: "Nodes",
  });
}

const MEMBER_ACTIONS = {
  promote: (name) => `${name} gets a vote. It should be caught up and reliable.`,
  demote: (name) => `${name} keeps its data and loses its vote. Fewer machines may fail then.`,
  transfer: (name) => `${name} becomes the leader. Writes wait for a moment.`,
  remove: (name) =>
    `${name} is no member any more, and cannot come back under its identity. Its rows stay in its file.`,
};
const title = (word) => word[0].toUpperCase() + word.slice(1);

function memberButtons(m) {
  const actions =
    m.role === "voter" ? [...(m.connected ? ["transfer"] : []), "demote", "remove"] : ["promote", "remove"];
  const buttons = actions.map((action) =>
    el(
      "button",
      {
        type: "button",
        class: action === "remove" ? "danger" : null,
        "aria-label": `${title(action)} ${m.name}`,
        onclick: () => confirmMember(action, m.name),
      },
      title(action),
    ),
  );
  return el("span", { class: "buttons" }, ...buttons);
}

function confirmMember(action, name) {
  ask({
    title: `${title(action)} ${name}?`,
    body: [el("p", {}, MEMBER_ACTIONS[action](name))],
    actions: [
      {
        label: `${title(action)} ${name}`,
        className: action === "remove" ? "danger" : null,
        run: () => post(`/api/v1/members/${encodeURIComponent(name)}/${action}`),
      },
    ],
  });
}

function showShards() {
  const box = byId("shards-box");
  box.hidden = status.shards.length < 2;
  if (box.hidden) return;
  const columns = ["Shard", "Leader", "Role here", "Term", "Commit", "Applied", "Pending"].map((label) => ({
    label,
  }));
  const rows = status.shards.map((s) => ({
    key: String(s.shard),
    cells: [s.shard, s.leader || "none", s.role, s.term, s.commitIndex, s.appliedIndex, s.pendingChanges],
  }));
  showTable(byId("shards"), columns, rows, { empty: "No shards.", label: "Shards" });
}

const CONFLICT_COLUMNS = ["When", "Table and key", "Kind", "Lost", "Won", "Actions"].map((label) => ({
  label,
}));

function showConflicts() {
  const rows = conflicts.map((c) => ({
    key: c.id,
    cells: [
      ago(Math.max(0, Date.now() - c.time)),
      `${c.table} ${c.key}`,
      c.kind,
      sideOf(c, "losing"),
      sideOf(c, "winning"),
      made(c.id, () => conflictButtons(c)),
    ],
  }));
  showTable(byId("conflicts"), CONFLICT_COLUMNS, rows, {
    empty: "No row lost to a concurrent write.",
    label: "Conflicts to look at",
  });
}

/** `berlin: name “B. Smith”`: the columns that differ. */
function sideOf(c, side) {
  const origin = c[`${side}Origin`];
  const full = details.get(c.id);
  if (full === undefined) return origin;
  const image = full[`${side}Image`];
  if (image === null) return `${origin}: deleted`;
  const other = side === "losing" ? full.winningImage : full.losingImage;
  const differing = full.columns.flatMap((name, i) => {
    const [own, its] = [shownValue(image[i]), other === null ? null : shownValue(other[i])];
    return own === its ? [] : [`${name} “${own.length > MAX_VALUE ? `${own.slice(0, MAX_VALUE)}…` : own}”`];
  });
  return `${origin}: ${differing.slice(0, MAX_COLUMNS).join(", ")}${differing.length > MAX_COLUMNS ? ", …" : ""}`;
}

function conflictButtons(c) {
  const row = `${c.table} ${c.key}`;
  const button = (label, onclick) =>
    el("button", { type: "button", "aria-label": `${label} ${row}`, onclick }, label);
  return el(
    "span",
    { class: "buttons" },
    button("Compare", () => compare(c)),
    button("Restore", () =>
      settle(c, "restore", "Restore", "The losing row is written again, as an ordinary write of this node."),
    ),
    c.kind === "same key" || c.kind === "unique clash"
      ? button("Restore as new", () =>
          settle(
            c,
            "restore?asNew=true",
            "Restore as new",
            "The losing row is written again under a new id, with its children.",
          ),
        )
      : null,
    button("Dismiss", () =>
      settle(c, "dismiss", "Dismiss", "The conflict is taken from this list. Both rows stay in the journal."),
    ),
  );
}

function settle(c, action, label, text) {
  ask({
    title: `${label} ${c.table} ${c.key}?`,
    body: [el("p", {}, text)],
    actions: [{ label, run: () => settled(post(`/api/v1/conflicts/${encodeURIComponent(c.id)}/${action}`)) }],
  });
}

async function settled(work) {
  await work;
  conflictsKey = "";
}

const shownValue = (v) =>
  v === undefined || v.type === "null" ? "NULL" : v.type === "blob" ? `x'${v.text}'` : v.text;

async function compare(c) {
  const full = await get(`/api/v1/conflicts/${encodeURIComponent(c.id)}`);
  const image = (side, i) => (side === null ? "(deleted)" : shownValue(side[i]));
  const rows = full.columns.map((name, i) => {
    const [lost, won] = [image(full.losingImage, i), image(full.winningImage, i)];
    const mark = lost === won ? null : "differs";
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", { class: mark }, lost),
      el("td", { class: mark }, won),
    );
  });
  const heads = ["Column", `Lost: ${full.losingOrigin}`, `Won: ${full.winningOrigin}`].map((text) =>
    el("th", { scope: "col" }, text),
  );
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  const restore = (query) => ({
    label: query === "" ? "Restore" : "Restore as new",
    run: () => settled(post(`/api/v1/conflicts/${encodeURIComponent(c.id)}/restore${query}`)),
  });
  ask({
    title: `${full.table} ${full.key}: ${full.kind}`,
    body: [el("p", { class: "mut" }, "Columns that differ are marked."), table],
    actions: [restore("")],
  });
}

function showPlots() {
  const samples = history?.samples ?? [];
  const key = String(samples.at(-1)?.at ?? "none");
  const stepMs = history?.stepMs ?? 10_000;
  const figure = (id, series, texts) =>
    show(byId(id), key, () => [
      samples.length < 2
        ? el("p", { class: "mut" }, "The first points come after 20 s.")
        : plot(series, { stepMs, ...texts }),
      el("p", { class: "legend" }, texts.legend),
    ]);
  figure(
    "plot-rate",
    [
      { name: "entries applied", values: samples.map((s) => s.entriesPerSecond) },
      { name: "own rows sent", values: samples.map((s) => s.rowsPerSecond) },
    ],
    {
      show: (v) => `${v >= 100 ? Math.round(v) : v.toFixed(1)}/s`,
      empty: "No writes in the last hour",
      legend: "Line: entries of all nodes. Dashes: rows of this node.",
    },
  );
  figure(
    "plot-latency",
    [
      { name: "commit until ordered", values: samples.map((s) => s.ordered?.p99Ms ?? null) },
      { name: "commit until shown here", values: samples.map((s) => s.shown?.p99Ms ?? null) },
    ],
    {
      show: millis,
      empty: "No writes in the last hour",
      legend:
        "p99. Line: a commit here until it is ordered. Dashes: a commit elsewhere until it is shown here.",
    },
  );
}

function showTables() {
  const rows = (tables ?? []).map((t) => ({
    key: `r ${t.name}`,
    cells: [
      t.name,
      t.rows === null ? "?" : `${t.isEstimate ? "about " : ""}${count(t.rows)}`,
      made("yes", () => pill("ok", "replicates")),
      "",
    ],
  }));
  const { skipped, held } = status.tables;
  for (const { name, reason } of skipped) {
    const isHeld = held.some((t) => t.name === name);
    rows.push({
      key: `s ${name}`,
      cells: [
        name,
        "–",
        made(`no ${isHeld}`, () => (isHeld ? pill("warn", "held back") : pill("mut", "does not"))),
        reason,
      ],
    });
  }
  const columns = [
    { label: "Table" },
    { label: "Rows", className: "n" },
    { label: "State" },
    { label: "Reason" },
  ];
  showTable(byId("tables"), columns, rows, { empty: "No tables yet.", label: "Tables" });
}

const LEVEL = { info: "mut", warn: "warn", error: "bad" };

function showEvents() {
  const rows = events.map((e) => {
    const at = new Date(e.time);
    return {
      key: String(e.id),
      cells: [
        made(String(e.id), () =>
          el("time", { datetime: at.toISOString(), class: "mut" }, at.toLocaleTimeString()),
        ),
        made(e.kind, () => pill(LEVEL[e.level], e.kind)),
        e.message,
      ],
    };
  });
  showTable(byId("events"), [{ label: "Time" }, { label: "Kind" }, { label: "Event" }], rows, {
    empty: "No events yet.",
    label: "Events",
  });
}

// ------------------------------------------------------------------------------------------------ the change feed

let feed = null;
const changes = [];
const FEED_COLUMNS = [{ label: "Time" }, { label: "Node" }, { label: "Position" }, { label: "Change" }];

const fields = (row) => JSON.stringify(row).slice(0, MAX_CHANGE);

/** A line for each row, schema change or conflict of an event. */
function changeLines({ kind, changes: rows, table, key, version }) {
  if (kind === "schema") return [`schema version ${version}`];
  if (kind === "conflict") return [`conflict in ${table} ${key}`];
  return (rows ?? []).map((c) => `${c.op} ${c.table} ${fields(c.after ?? c.before)}`);
}

function onChange({ data }) {
  const event = JSON.parse(data);
  const lines = changeLines(event);
  const more = lines.length > MAX_LINES ? [`and ${count(lines.length - MAX_LINES)} more rows`] : [];
  for (const text of [...lines.slice(0, MAX_LINES), ...more])
    changes.unshift({
      key: String(++feedNumber),
      cells: [
        event.time ? new Date(event.time).toLocaleTimeString() : "",
        event.origin ?? "",
        event.position ?? "",
        text,
      ],
    });
  changes.length = Math.min(changes.length, MAX_FEED);
  showTable(byId("feed"), FEED_COLUMNS, changes, { empty: "Nothing was written since.", label: "Changes" });
}

let feedNumber = 0;

function follow() {
  const button = byId("feed-button");
  if (feed === null) {
    feed = new EventSource("/api/v1/changes");
    for (const kind of ["transaction", "schema", "conflict"]) feed.addEventListener(kind, onChange);
    showTable(byId("feed"), FEED_COLUMNS, changes, { empty: "Nothing was written since.", label: "Changes" });
  } else {
    feed.close();
    feed = null;
  }
  byId("feed").hidden = feed === null;
  button.setAttribute("aria-pressed", String(feed !== null));
}

// ------------------------------------------------------------------------------------------------ token and loop

let withToken = false;

function showLogin(isNeeded) {
  byId("login").hidden = !isNeeded;
  byId("content").hidden = isNeeded;
  byId("logout").hidden = isNeeded || !withToken;
  if (!isNeeded) return;
  withToken = true;
  document.title = "Log in – Marmot";
  byId("state").textContent = "locked";
  byId("about").textContent = "";
  if (!byId("login").contains(document.activeElement)) byId("token").focus();
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token");
  try {
    await call("POST", "/api/v1/session", { authorization: `Bearer ${field.value}` });
    field.value = "";
    byId("login-error").textContent = "";
    await look();
  } catch (error) {
    byId("login-error").textContent =
      error instanceof NeedsToken ? "This is not the token of this node." : error.message;
  }
});
byId("feed-button").addEventListener("click", follow);
byId("logout").addEventListener("click", async () => {
  await post("/api/v1/session");
  await look();
});

function showLost(error) {
  document.title = `✖ ${status?.node.name ?? "no answer"} – Marmot`;
  byId("state").className = "pill bad";
  byId("state").textContent = "no answer";
  const banner = byId("banner");
  banner.className = "card banner is-bad";
  show(banner, `lost ${error.message}`, () => [
    el("strong", {}, "This node does not answer"),
    el(
      "p",
      {},
      "It may be stopped, or restarting; this page goes on by itself. To start it: ",
      el("code", {}, "marmot run --db FILE"),
    ),
  ]);
}

async function look() {
  try {
    await refresh();
    showLogin(false);
    byId("fresh").textContent = "every second";
  } catch (error) {
    if (error instanceof NeedsToken) showLogin(true);
    else showLost(error);
  }
}

async function loop() {
  if (document.visibilityState === "visible") await look();
  setTimeout(loop, EVERY_MS);
}
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void look();
});
void loop();
