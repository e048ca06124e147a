import { count, duration } from "./format.js";

const plural = (n: number, one: string, many: string): string => `${count(n)} ${n === 1 ? one : many}`;

/** Every word that the console says. */
export const text = {
  product: "taskfeed console",
  brand: "taskfeed",
  skip: "Skip to the content",
  loading: "Loading…",
  retry: "Try again",
  copied: "Copied",
  copyFailed: "The browser does not allow copying",
  copyJSON: "Copy JSON",
  covered: "covered",
  close: "Close",
  cancel: "Cancel",
  progressOf: (name: string) => `Progress of ${name}`,
  menu: "Menu",
  navigation: "Main",
  notFound: "There is no such screen",
  notFoundHint: "The address may be of another version of the console.",
  toStart: "Go to the start",

  screens: {
    overview: "Overview", tasks: "Tasks", task: "Task", live: "Live", connections: "Connections",
    playground: "Playground", diagnostics: "Diagnostics", about: "About", login: "Log in",
  },

  status: {
    queued: "queued", running: "running", completed: "completed", failed: "failed", canceled: "canceled",
    unknown: "unknown", deleted: "deleted",
  },

  login: {
    intro: "Paste a token (a JWT). With the role “admin” it shows every user's tasks, without it the user's own.",
    token: "Token",
    how: "Make one with",
    command: "taskfeed token --user admin --role admin",
    dev: "taskfeed dev prints a link that logs you in.",
    stays: "The token stays in this tab and is gone when the tab is closed.",
    enter: "Log in",
    noToken: "This is no JWT with a subject. A token has three parts with dots between them.",
    logout: "Log out",
    admin: "admin",
    user: "user",
    noAnswer: "Asking the server who you are…",
  },

  settings: {
    title: "Settings",
    theme: "Theme",
    themes: { system: "System", light: "Light", dark: "Dark" },
    times: "Times",
    timeModes: { relative: "Relative", local: "Local time", utc: "UTC" },
    payloads: "Messages and results",
    payloadModes: { shown: "Shown", covered: "Covered" },
    shortcuts: "Keyboard shortcuts",
    on: "On",
    off: "Off",
  },

  help: {
    title: "Keyboard shortcuts",
    button: "Shortcuts",
    keys: [
      ["/", "To the search field of the screen"],
      ["Space", "Pause and resume what moves"],
      ["?", "This list"],
      ["g t", "Tasks"],
      ["g l", "Live"],
      ["g p", "Playground"],
      ["g a", "About"],
    ] as [string, string][],
    adminKeys: [
      ["g o", "Overview"],
      ["g c", "Connections"],
      ["g d", "Diagnostics"],
    ] as [string, string][],
    offHint: "Single keys can be switched off for those who dictate or press keys by accident.",
  },

  feed: {
    off: "no feed", connecting: "connecting", live: "live", waiting: "reconnecting", ended: "feed ended",
    label: "Feed",
  },

  pause: {
    pause: "Pause",
    resume: "Resume",
    held: (n: number) => plural(n, "event held back", "events held back"),
    paused: "Paused",
    resumed: "Resumed",
  },

  banner: {
    away: "The server does not answer. What you see is what it said last; the page goes on by itself when it is back.",
    offline: "This computer is offline. The page goes on by itself when the network is back.",
    unready: (failing: string[]) =>
      `The server is not ready${failing.length ? ` (${failing.join(", ")})` : ""}. The page goes on by itself when it is.`,
    since: (ms: number) => `for ${duration(ms)}`,
    now: "Ask now",
    back: "The server is back",
    feedEnded: (why: string) => `Nothing moves any more: ${why || "the feed has ended"}. Reload the page to begin anew.`,
    expires: (ms: number) => `Your token expires in ${duration(ms)}. Log in with a new one to go on.`,
  },

  problem: {
    title: "That did not work",
    noAnswer: "the server does not answer",
    status: (status: number) => `the server answered ${status}`,
    code: "code",
    request: "request",
    adminTitle: "For admins",
    adminOnly: "This screen takes a token with the role “admin”.",
  },

  json: {
    items: (n: number) => plural(n, "item", "items"),
    fields: (n: number) => plural(n, "field", "fields"),
    more: (n: number) => `Show more (${count(n)})`,
    whole: (n: number) => `Show all ${count(n)} characters`,
  },

  column: { status: "Status", task: "Task", user: "User", progress: "Progress", created: "Created", changed: "Changed" },

  tasks: {
    fresh: (n: number) => `${plural(n, "new task", "new tasks")}: show`,
    none: "There are no tasks yet. An INSERT shows up here at once:",
    noneMatch: "No task matches the filter.",
    example: "An SQL statement to try",
    insert: "INSERT INTO taskfeed.tasks (user_id, kind)\nVALUES ('alice', 'export');",
    pages: "Pages",
    firstPage: "First page",
    nextPage: "Next page",
    left: "not in the filter any more",
  },

  filter: {
    label: "Filter",
    status: "Status",
    text: "Search",
    textHint: "id, message or error",
    user: "User",
    kind: "Kind",
    from: "Created from",
    to: "Created before",
    sort: "Order",
    newest: "Newest first", oldest: "Oldest first", changedLast: "Last changed first", changedFirst: "First changed first",
    clear: "Clear the filter",
    more: "More filters",
  },

  task: {
    missing: "There is no such task, and the log holds no event of it.",
    timeline: "Timeline",
    noEvents: "The log holds no event of this task any more.",
    events: (n: number) => plural(n, "event", "events"),
    more: "There are more events than are shown here; the API has them all.",
    version: "Version",
    lasted: "Lasted",
    message: "Message",
    result: "Result",
    error: "Error",
    take: "Take it along",
    copyID: "Copy id", copySQL: "Copy as SQL", copyCurl: "Copy as curl", download: "Download JSON",
    watchers: (user: string) => `${user} is connected`,
    noWatchers: "not now",
    since: "since",
  },

  event: { first: "begin" },

  timeline: {
    picture: (n: number, span: string) => `Timeline of ${plural(n, "event", "events")} over ${span}; the list of events below says the same in words`,
  },

  live: {
    none: "No event has come that matches. Events show up here as they are committed.",
    rate: "Rate, last 10 s",
    perSecond: "a second",
    total: "Events since this page was opened",
    cursor: "Cursor",
    reconnects: "Reconnects",
    resets: "Resets",
    types: "Types",
    textHint: "anything in the event",
    custom: "The app's own types",
    customHint: "invoice_ready, …",
    seen: (n: number) => plural(n, "event so far", "events so far"),
  },

  connections: {
    ofServer: "of server",
    none: "Nobody is connected.",
    transport: "Transport", since: "Since", lag: "Behind", bytes: "Sent", address: "Address", actions: "Actions",
    behind: (n: number) => (n <= 0 ? "0" : plural(n, "event", "events")),
    onlyUser: "Show this user's connections only",
    close: "Disconnect",
    closing: "closing…",
    closeUser: (user: string) => `Disconnect all of ${user}`,
    confirmOne: (user: string) => `Disconnect ${user}?`,
    confirmUser: (user: string) => `Disconnect ${user} on every server?`,
    consequence: "The client is told to stay away (close code 4011) and does not come back by itself. No event is lost: with its cursor it gets later what it misses.",
    told: "The servers have been told; it takes a few seconds",
  },

  chart: { table: "As a table", time: "Time" },

  overview: {
    byStatus: "Tasks by status",
    events: "Events a second",
    eventsName: "events/s",
    period: "Period",
    twoMinutes: "2 min", tenMinutes: "10 min", hour: "1 h",
    latency: "Commit to socket",
    noMetrics: "The metrics of this server cannot be read from here, so latency and health are not shown.",
    health: "Health of the feed",
    attention: "needs attention:",
    unknown: "not known:",
    feed: "Feed", fresh: "fresh", stale: "stale", feedHint: "the last look at the database went well, or not",
    role: "This server", leads: "sequences", follows: "follows", roleHint: "one server moves changes into the log, all serve it",
    buffer: "Buffer", bufferHint: "committed changes that are not in the log yet",
    writer: "Oldest writer", noWriter: "none", writerHint: "age of the oldest transaction that has written",
    queue: "Notification queue", queueHint: "part of Postgres's queue in use",
    connections: "Connections", users: (n: number) => `of ${plural(n, "user", "users")} on this server`,
    oldest: "Running longest",
    noneRuns: "No task is running.",
    stalled: (after: string) => `Running without a change for ${after}`,
    noneStalled: "None: every running task has moved.",
    unchanged: "changed",
  },
};
