// The page at /demo: one user's feed, live.
//
// Three parts. The model holds what the events said, the feed brings the events,
// the view shows the model. The feed is the client that the server hands out at
// sdk/taskfeed.js: it connects, reconnects and drops duplicates. An event changes
// the model at once and the screen at the next animation frame, so that a long
// replay does not freeze the page.

// --- The model ---------------------------------------------------------------

const maxTasks = 1000; // remembered
const maxRows = 100; // shown
const maxEvents = 20; // listed

function newModel() {
  return {
    cursor: 0, // id of the last event that was handled
    tasks: new Map(), // rows of the page by task id, the one that changed last at the end
    recent: [], // the last events, newest first
    events: 0,
    duplicates: 0, // events that came twice: the client promises none
    reconnects: 0,
    caughtUp: null, // events replayed after the last reconnect
  };
}

let model = newModel();

function takeEvent(event) {
  if (event.id <= model.cursor) model.duplicates++;
  model.events++;
  note(event);
  if (event.task_id !== undefined) applyToTask(event);
}

// applyToTask lets the client's applyEvent work on a map of this task alone: it
// copies the map that it is given.
function applyToTask(event) {
  const id = event.task_id;
  const known = model.tasks.get(id);
  const before = new Map(known && [[id, known.task]]);
  const after = taskfeed.applyEvent(before, event);
  if (after === before) return;
  model.tasks.delete(id);
  if (!after.has(id)) return;
  const task = after.get(id);
  model.tasks.set(id, {
    task,
    first: known?.first ?? event.id,
    last: event.id,
    time: Date.parse(event.timestamp),
    outcome: task.error || resultText(task),
  });
  if (model.tasks.size > maxTasks) model.tasks.delete(model.tasks.keys().next().value);
}

// resultText returns the result of a task or of an event for display.
function resultText({ result, truncated }) {
  if (truncated?.includes("result")) return "too large for the feed: it is in the task's row";
  return result == null ? "" : clip(JSON.stringify(result));
}

function note(frame) {
  model.recent = [{ frame, detail: null }, ...model.recent.slice(0, maxEvents - 1)];
}

// takeReset forgets the tasks: events are lost, so the tasks may be wrong.
function takeReset({ reason, cursor }) {
  model.tasks = new Map();
  note({ type: "feed_reset", reason, cursor });
}

function clip(text) {
  return text.length > 300 ? text.slice(0, 300) + "…" : text;
}

// --- The feed ----------------------------------------------------------------

const cutFor = 5_000; // ms until a connection that the user has cut comes back: long enough to see other tabs continue
const tokenKey = "taskfeed.token";

const link = {
  user: "",
  feed: null,
  state: "idle", // connecting, replaying, live, waiting, cut, idle
  why: "",
  retryAt: 0, // ms since 1970
  cutTimer: 0,
  joined: false, // was live at least once
  eventsBefore: 0, // model.events when the connection opened
};

// follow connects with the token, from the model's cursor on.
function follow(token) {
  const mine = model;
  const feed = new taskfeed.TaskFeed({
    url: ".", // where the page is, without its name
    userId: link.user,
    getToken: () => token,
    unread: true,
    cursorStore: { load: () => mine.cursor, save: (cursor) => { mine.cursor = cursor; } },
  });
  feed.on("event", takeEvent);
  feed.on("reset", takeReset);
  feed.on("state", (change) => feed === link.feed && stateChanged(change));
  for (const type of ["event", "reset", "unread"]) feed.on(type, draw);
  link.feed = feed;
  feed.connect();
}

function stateChanged({ state, error, delay = 0 }) {
  if (state === "closed") {
    if (error) askForToken(error.message);
    return; // without an error, the page itself has closed the feed
  }
  if (state === "replaying") {
    if (link.joined) model.reconnects++;
    link.eventsBefore = model.events;
  } else if (state === "live") {
    if (link.joined) model.caughtUp = model.events - link.eventsBefore;
    link.joined = true;
  }
  link.retryAt = Date.now() + delay;
  enter(state, error?.message);
}

let cannotCancel = false; // the server takes no such messages
const canceling = new Set(); // ids of tasks

// cancel asks the app to cancel a task, by a message that it receives. What the app makes
// of it, the feed tells.
async function cancel(id) {
  canceling.add(id);
  draw();
  try {
    await link.feed.send("cancel", { taskId: id });
  } catch (error) {
    canceling.delete(id);
    cannotCancel ||= ["inbox_off", "topic_not_allowed"].includes(error.reason) || error.status === 404 && error.reason !== "not_found";
  }
  draw();
}

// cutOrConnect is what the button does: it cuts the connection for a while, or
// ends the wait for the next one.
function cutOrConnect() {
  clearTimeout(link.cutTimer);
  const connected = isConnected();
  void link.feed.close();
  if (!connected) return link.feed.connect();
  link.retryAt = Date.now() + cutFor;
  link.cutTimer = setTimeout(() => link.feed.connect(), cutFor);
  enter("cut");
}

// isConnected reports whether there is a connection, or one being made.
function isConnected() {
  return ["connecting", "replaying", "live"].includes(link.state);
}

// leave closes the feed for good.
function leave() {
  clearTimeout(link.cutTimer);
  void link.feed?.close();
  link.feed = null;
}

function enter(state, why = "") {
  link.state = state;
  link.why = why;
  draw();
}

// --- The token ---------------------------------------------------------------

// userOf returns the subject of a JWT, or null when the text is not a JWT. The server
// decides whether it is valid.
function userOf(token) {
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return null;
  try {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const subject = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)).sub;
    return typeof subject === "string" && subject !== "" ? subject : null;
  } catch {
    return null;
  }
}

function useToken(token) {
  const user = userOf(token);
  if (user === null) {
    askForToken("This is not a JWT with a subject.");
    return;
  }
  leave();
  if (user !== link.user) {
    model = newModel();
    link.joined = false;
  }
  sessionStorage.setItem(tokenKey, token);
  link.user = user;
  follow(token);
}

function askForToken(why = "") {
  leave();
  sessionStorage.removeItem(tokenKey);
  enter("idle", why);
  draw.now();
  view.token.focus();
}

// tokenFromAddress takes the token out of the fragment and out of the address bar.
function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

// --- The view ----------------------------------------------------------------

const stateWords = {
  idle: "no connection",
  connecting: "connecting",
  replaying: "replaying",
  live: "live",
  waiting: "connection lost",
  cut: "connection cut",
};

const icons = { queued: "…", running: "▸", completed: "✓", failed: "✕", canceled: "–", unknown: "?" };

// view holds the page's elements by their ids: state-word is view.stateWord.
const view = Object.fromEntries(Array.from(document.querySelectorAll("[id]"), (element) =>
  [element.id.replace(/-(.)/g, (_, letter) => letter.toUpperCase()), element]));

const rows = new Map(); // by task id: the row's elements

const listsEvery = 250; // ms between two drawings of the lists during a replay

let drawing = 0;
let listsDrawn = 0;

// draw shows everything at the next animation frame, however often it is called.
function draw() {
  drawing ||= requestAnimationFrame(draw.now);
}

draw.now = () => {
  cancelAnimationFrame(drawing);
  drawing = 0;
  drawState();
  drawCounters();
  if (link.state === "replaying" && performance.now() - listsDrawn < listsEvery) return;
  drawTasks();
  drawEvents();
  listsDrawn = performance.now();
};

function drawState() {
  const idle = link.state === "idle";
  view.state.dataset.state = link.state;
  write(view.stateWord, stateWords[link.state]);
  write(view.stateDetail, stateDetail());
  write(view.user, idle ? "" : link.user);
  write(view.loginWhy, idle ? link.why : "");
  write(view.cut, isConnected() ? "Cut the connection" : "Connect now");
  view.login.hidden = !idle;
  view.feed.hidden = view.actions.hidden = idle;
  drawBell();
  document.title = link.user === "" ? "taskfeed" : `${link.user} · taskfeed`;
}

function drawBell() {
  const unread = link.feed?.unread;
  view.bell.hidden = !unread;
  if (unread) write(view.bell, `${count(unread.total)}${unread.more ? "+" : ""} unread`);
}

function stateDetail() {
  if (link.state === "replaying") return `${count(model.events - link.eventsBefore)} events so far`;
  if (link.state === "waiting" || link.state === "cut") {
    const seconds = Math.max(0, Math.ceil((link.retryAt - Date.now()) / 1000));
    return `next try in ${seconds} s${link.why && ": " + link.why}`;
  }
  return "";
}

function drawCounters() {
  write(view.countEvents, count(model.events));
  write(view.countDuplicates, count(model.duplicates));
  write(view.countReconnects, count(model.reconnects));
  write(view.countCaughtUp, model.caughtUp === null ? "–" : `${count(model.caughtUp)} events`);
  write(view.cursor, String(model.cursor));
}

function drawTasks() {
  const all = [...model.tasks.values()];
  const ended = ({ task }) => ["completed", "failed", "canceled"].includes(task.status);
  const open = all.filter((entry) => !ended(entry)).sort((a, b) => b.first - a.first);
  const done = all.filter(ended).sort((a, b) => b.last - a.last);
  const shownOpen = open.slice(0, maxRows);
  const shownDone = done.slice(0, maxRows - shownOpen.length);

  write(view.countOpen, count(open.length));
  write(view.countDone, count(done.length));
  const shown = new Set([...shownOpen, ...shownDone].map(({ task }) => task.id));
  for (const [id, row] of rows) {
    if (!shown.has(id)) {
      row.li.remove();
      rows.delete(id);
    }
  }
  place(view.rowsOpen, shownOpen);
  place(view.rowsDone, shownDone);
  const leftOff = all.length - shown.size;
  write(view.leftOff, leftOff > 0 ? `${count(leftOff)} older tasks are not shown.` : "");
  view.emptyOpen.hidden = view.example.hidden = open.length > 0 || link.state !== "live";
  write(view.example, `INSERT INTO taskfeed.tasks (user_id, kind)\nVALUES ('${link.user.replaceAll("'", "''")}', 'export');`);
}

// place shows the entries in this order and moves only the rows that are elsewhere.
function place(list, entries) {
  entries.forEach((entry, i) => {
    const row = rows.get(entry.task.id) ?? newRow(entry.task.id);
    fill(row, entry);
    if (list.children[i] !== row.li) list.insertBefore(row.li, list.children[i] ?? null);
  });
}

function newRow(id) {
  const row = {
    icon: make("span", "icon"), status: make("span", "status"), kind: make("span", "kind"), group: make("span", "group"), id: make("code", "id"),
    time: make("time", "time"), bar: make("progress", "bar"), percent: make("span", "percent"),
    message: make("p", "message"), outcome: make("p", "outcome"), cancel: make("button", "plain cancel"),
  };
  row.cancel.type = "button";
  row.cancel.addEventListener("click", () => cancel(id));
  row.icon.ariaHidden = "true";
  row.bar.max = 100;
  row.li = make("li", "row",
    make("div", "head", row.icon, row.kind, row.group, row.id, row.status, row.time),
    make("div", "track", row.bar, row.percent, row.cancel),
    row.message, row.outcome);
  rows.set(id, row);
  return row;
}

function fill(row, { task, time, outcome }) {
  row.li.dataset.status = task.status;
  write(row.icon, icons[task.status]);
  write(row.status, task.status);
  write(row.kind, task.kind || "task");
  write(row.group, task.user_id ?? ""); // events of the user's own feed do not name it
  write(row.id, task.id);
  write(row.time, ago(time));
  row.time.dateTime = row.time.title = new Date(time).toISOString();
  row.bar.value = task.progress;
  row.bar.ariaLabel = `Progress of ${task.kind || "task"} ${task.id}`;
  write(row.percent, `${task.progress} %`);
  write(row.message, task.message ?? "");
  row.cancel.hidden = cannotCancel || !["queued", "running"].includes(task.status);
  row.cancel.disabled = canceling.has(task.id);
  row.cancel.ariaLabel = `Cancel ${task.kind || "task"} ${task.id}`;
  write(row.cancel, canceling.has(task.id) ? "Canceling…" : "Cancel");
  write(row.outcome, outcome);
}

function drawEvents() {
  model.recent.forEach((entry, i) => {
    const frame = entry.frame;
    const li = view.events.children[i] ?? view.events.appendChild(make("li", "event",
      make("code", "event-id"), make("span", "event-type"), make("span", "event-detail")));
    li.dataset.type = frame.type;
    const [id, type, detail] = li.children;
    write(id, String(frame.id ?? frame.cursor));
    write(type, frame.type);
    write(detail, entry.detail ??= eventDetail(frame));
  });
  while (view.events.children.length > model.recent.length) {
    view.events.lastChild.remove();
  }
}

// eventDetail describes an event in one line.
function eventDetail(frame) {
  if (frame.type === "feed_reset") {
    return `events are lost (${frame.reason}): the list starts again`;
  }
  const { id, type, timestamp, task_id, version, ...data } = frame;
  if (task_id === undefined) return clip(JSON.stringify(data));
  const percent = type === "task_started" || type === "task_progress" ? `${data.progress} %` : "";
  const outcome = { task_failed: data.error, task_completed: resultText(frame), task_queued: data.kind }[type];
  return [task_id, percent, clip(outcome ?? data.message ?? "")].filter(Boolean).join(" · ");
}

const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

// ago says how long ago a time was, "now" also when the server's clock is ahead.
function ago(time) {
  const seconds = (Date.now() - time) / 1000;
  const [size, name] = units.find(([size]) => seconds >= size) ?? [];
  return name ? `${Math.floor(seconds / size)} ${name} ago` : "now";
}

function count(n) {
  return n.toLocaleString("en");
}

// write sets an element's text unless it has that text already.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

// --- The start ---------------------------------------------------------------

view.cut.addEventListener("click", cutOrConnect);
view.bell.addEventListener("click", () => link.feed.markRead().catch(() => {})); // the feed tries again
view.forget.addEventListener("click", () => askForToken());
view.login.addEventListener("submit", (event) => {
  event.preventDefault();
  const token = view.token.value.trim();
  view.token.value = "";
  useToken(token);
});
addEventListener("hashchange", () => {
  const token = tokenFromAddress();
  if (token) useToken(token);
});
setInterval(draw, 1000); // relative times and the countdown

const kept = tokenFromAddress() || sessionStorage.getItem(tokenKey);
if (kept) {
  useToken(kept);
} else {
  askForToken();
}
