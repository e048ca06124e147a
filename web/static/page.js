// The page at /: one user's feed, live.
//
// Three parts. The model says what the frames mean, the connection brings them,
// the view shows the model. A frame changes the model at once and the screen
// with the next picture, so that a replay of any length does not freeze the page.

// --- The model ---------------------------------------------------------------

const maxTasks = 1000; // remembered
const maxRows = 100; // shown
const maxEvents = 20; // listed

const statusOf = new Map([
  ["task_queued", "queued"],
  ["task_started", "running"],
  ["task_completed", "completed"],
  ["task_failed", "failed"],
  ["task_canceled", "canceled"],
]);

function newModel() {
  return {
    lastSeen: 0, // the cursor: id of the last event applied
    tasks: new Map(), // by id, the one that changed last at the end
    recent: [], // the last events, newest first
    events: 0,
    duplicates: 0,
    reconnects: 0,
    caughtUp: null, // events replayed after the last reconnect
  };
}

let model = newModel();

// applyEvent obeys the client rule, id > last seen, and then the event.
function applyEvent(frame) {
  if (frame.id <= model.lastSeen) {
    model.duplicates++;
    return;
  }
  model.lastSeen = frame.id;
  model.events++;
  note(frame);
  if (frame.type === "task_deleted") {
    model.tasks.delete(frame.task_id);
  } else if (frame.type === "task_progress") {
    applyProgress(frame);
  } else if (statusOf.has(frame.type)) {
    applyStatus(frame);
  }
}

// applyStatus: the event carries all that a user can see of the task.
function applyStatus(frame) {
  put({
    id: frame.task_id,
    kind: frame.kind ?? "",
    status: statusOf.get(frame.type),
    progress: frame.progress ?? 0,
    message: frame.message ?? "",
    result: resultText(frame),
    error: frame.error ?? "",
  }, frame);
}

// applyProgress: the event carries progress and message and nothing else. Of a
// task whose status the log no longer holds, the rest is unknown.
function applyProgress(frame) {
  const known = model.tasks.get(frame.task_id) ??
    { id: frame.task_id, kind: "", status: "unknown", result: "", error: "" };
  put({ ...known, progress: frame.progress, message: frame.message ?? "" }, frame);
}

function put(task, frame) {
  task.first = model.tasks.get(task.id)?.first ?? frame.id;
  task.last = frame.id;
  task.time = Date.parse(frame.timestamp);
  model.tasks.delete(task.id);
  model.tasks.set(task.id, task);
  if (model.tasks.size > maxTasks) model.tasks.delete(model.tasks.keys().next().value);
}

function resultText(frame) {
  if (frame.truncated?.includes("result")) return "too large for the feed: it is in the task's row";
  return frame.result == null ? "" : clip(JSON.stringify(frame.result));
}

function note(frame) {
  model.recent = [{ frame, detail: null }, ...model.recent.slice(0, maxEvents - 1)];
}

// applyReset: events were missed for good, so what is shown may be wrong.
function applyReset(frame) {
  model.tasks = new Map();
  model.lastSeen = frame.cursor;
  note(frame);
}

function clip(text) {
  return text.length > 300 ? text.slice(0, 300) + "…" : text;
}

// --- The connection ----------------------------------------------------------

const firstDelay = 1_000; // ms before the first reconnect; doubles up to maxDelay
const maxDelay = 30_000;
const cutDelay = 5_000; // after a cut by hand, long enough to see the others move on
const pingEvery = 25_000;
const answerWithin = 10_000;
const tokenKey = "taskfeed.token";
const refusals = new Set([4001, 4003, 4011]); // after these a client stays away

const link = {
  token: "",
  user: "",
  socket: null,
  state: "idle", // connecting, replaying, live, waiting, cut, idle
  why: "",
  delay: firstDelay,
  retryAt: 0,
  retryTimer: 0,
  answerTimer: 0,
  joined: false, // connected at least once
  eventsBefore: 0, // model.events when the connection opened
};

function connect() {
  clearTimeout(link.retryTimer);
  enter("connecting");
  const url = new URL("ws/" + encodeURIComponent(link.user), location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "?after=" + model.lastSeen;
  url.hash = "";
  // The token is a subprotocol, so that no proxy's log holds it.
  const socket = new WebSocket(url, ["taskfeed.v1", "bearer." + link.token]);
  link.socket = socket;
  socket.onopen = opened;
  socket.onmessage = (message) => received(message.data);
  socket.onclose = (close) => closed(close.code, close.reason);
  expectAnswer();
}

// expectAnswer gives the server up if it says nothing for too long.
function expectAnswer() {
  link.answerTimer = setTimeout(() => closed(4009, "the server does not answer"), answerWithin);
}

function answered() {
  clearTimeout(link.answerTimer);
  link.answerTimer = 0;
}

function opened() {
  answered();
  if (link.joined) model.reconnects++;
  link.eventsBefore = model.events;
  enter("replaying");
}

function received(text) {
  answered();
  if (text === "pong") return;
  const frame = JSON.parse(text);
  if (frame.type === "feed_live") {
    wentLive(frame);
  } else if (frame.type === "feed_reset") {
    applyReset(frame);
  } else if (frame.id) { // what else has none is of a later version of the protocol
    applyEvent(frame);
  }
  draw();
}

function wentLive(frame) {
  model.lastSeen = Math.max(model.lastSeen, frame.cursor);
  if (link.joined) model.caughtUp = model.events - link.eventsBefore;
  link.joined = true;
  link.delay = firstDelay;
  enter("live");
}

function closed(code, reason) {
  drop();
  if (refusals.has(code)) {
    askForToken(reason || "The server refused the token.");
    return;
  }
  const jittered = link.delay * (0.75 + Math.random() / 2);
  link.delay = Math.min(2 * link.delay, maxDelay);
  retryIn(jittered, "waiting", reason);
}

function retryIn(delay, state, why) {
  link.retryAt = Date.now() + delay;
  link.retryTimer = setTimeout(connect, delay);
  enter(state, why);
}

// drop forgets the socket at once: a peer that is gone answers no close frame.
function drop() {
  const socket = link.socket;
  clearTimeout(link.retryTimer);
  answered();
  link.socket = null;
  if (socket) {
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}

function cut() {
  if (!link.socket) return connect();
  drop();
  retryIn(cutDelay, "cut");
}

// probe finds out whether the server is still there. A browser does not show
// the server's own pings to a page.
function probe() {
  if (link.socket?.readyState !== WebSocket.OPEN || link.answerTimer) return;
  link.socket.send("ping");
  expectAnswer();
}

// hurry is for moments at which a network that was gone may be back.
function hurry() {
  if (link.state === "waiting") return connect();
  probe();
}

function enter(state, why = "") {
  link.state = state;
  link.why = why;
  draw();
}

// --- The token ---------------------------------------------------------------

// userOf returns the subject of a token, and null for what is none. Whether it
// is good, the server decides.
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
    askForToken("This is no JWT with a subject.");
    return;
  }
  drop();
  if (user !== link.user) {
    model = newModel();
    link.joined = false;
  }
  sessionStorage.setItem(tokenKey, token);
  Object.assign(link, { token, user, delay: firstDelay });
  connect();
}

function askForToken(why = "") {
  drop();
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

// draw has everything shown with the next picture, however often it is called.
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
  write(view.cut, link.socket ? "Cut the connection" : "Connect now");
  view.login.hidden = !idle;
  view.feed.hidden = view.actions.hidden = idle;
  document.title = link.user === "" ? "taskfeed" : `${link.user} · taskfeed`;
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
  write(view.cursor, String(model.lastSeen));
}

function drawTasks() {
  const all = [...model.tasks.values()];
  const ended = (task) => ["completed", "failed", "canceled"].includes(task.status);
  const open = all.filter((task) => !ended(task)).sort((a, b) => b.first - a.first);
  const done = all.filter(ended).sort((a, b) => b.last - a.last);
  const shownOpen = open.slice(0, maxRows);
  const shownDone = done.slice(0, maxRows - shownOpen.length);

  write(view.countOpen, count(open.length));
  write(view.countDone, count(done.length));
  const shown = new Set([...shownOpen, ...shownDone].map((task) => task.id));
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

// place shows the tasks in this order and moves only the rows that are elsewhere.
function place(list, tasks) {
  tasks.forEach((task, i) => {
    const row = rows.get(task.id) ?? newRow(task.id);
    fill(row, task);
    if (list.children[i] !== row.li) list.insertBefore(row.li, list.children[i] ?? null);
  });
}

function newRow(id) {
  const row = {
    icon: make("span", "icon"), status: make("span", "status"), kind: make("span", "kind"), id: make("code", "id"),
    time: make("time", "time"), bar: make("progress", "bar"), percent: make("span", "percent"),
    message: make("p", "message"), outcome: make("p", "outcome"),
  };
  row.icon.ariaHidden = "true";
  row.bar.max = 100;
  row.li = make("li", "row",
    make("div", "head", row.icon, row.kind, row.id, row.status, row.time),
    make("div", "track", row.bar, row.percent),
    row.message, row.outcome);
  rows.set(id, row);
  return row;
}

function fill(row, task) {
  row.li.dataset.status = task.status;
  write(row.icon, icons[task.status]);
  write(row.status, task.status);
  write(row.kind, task.kind || "task");
  write(row.id, task.id);
  write(row.time, ago(task.time));
  row.time.dateTime = row.time.title = new Date(task.time).toISOString();
  row.bar.value = task.progress;
  row.bar.ariaLabel = `Progress of ${task.kind || "task"} ${task.id}`;
  write(row.percent, `${task.progress} %`);
  write(row.message, task.message);
  write(row.outcome, task.error || task.result);
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

// eventDetail says in one line what an event carries.
function eventDetail(frame) {
  if (frame.type === "feed_reset") {
    return `events were missed for good (${frame.reason}): the list starts anew`;
  }
  const { id, type, timestamp, task_id, version, ...data } = frame;
  if (task_id === undefined) return clip(JSON.stringify(data));
  const percent = type === "task_started" || type === "task_progress" ? `${data.progress} %` : "";
  const outcome = { task_failed: data.error, task_completed: resultText(frame), task_queued: data.kind }[type];
  return [task_id, percent, clip(outcome ?? data.message ?? "")].filter(Boolean).join(" · ");
}

const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

// ago is a time as people say it. A server's clock that is ahead does not show.
function ago(time) {
  const seconds = (Date.now() - time) / 1000;
  const [size, name] = units.find(([size]) => seconds >= size) ?? [];
  return name ? `${Math.floor(seconds / size)} ${name} ago` : "now";
}

function count(n) {
  return n.toLocaleString("en");
}

// write sets an element's text, and leaves the page alone when it has it already.
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

view.cut.addEventListener("click", cut);
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
addEventListener("online", hurry);
document.addEventListener("visibilitychange", () => document.hidden || hurry());
setInterval(probe, pingEvery);
setInterval(draw, 1000); // relative times and the countdown

const kept = tokenFromAddress() || sessionStorage.getItem(tokenKey);
if (kept) {
  useToken(kept);
} else {
  askForToken();
}
