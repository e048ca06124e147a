import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * An app's page, of another origin than the feed's, that loads the client by a script
 * tag. The query of its URL says how it follows alice. It keeps the ids of the events
 * that its handler was called with, also over reloads.
 */
const html = (feed: string): string => `<!doctype html>
<html lang="en"><title>app</title>
<script src="${feed}/sdk/taskfeed.js"></script>
<script>
const query = new URLSearchParams(location.search);
const key = query.get("key");
const got = JSON.parse(localStorage.getItem(key + " got") ?? "[]");
const ws = new TaskWebSocket("alice", query.get("token"), {
  after: 0,
  cursorStore: taskfeed.localStorageCursor(key),
  shared: query.has("shared"),
  backoff: { min: 100, max: 1000 },
  ...(query.has("url") && { url: query.get("url") }),
});
ws.on("event", (e) => {
  got.push(e.id);
  localStorage.setItem(key + " got", JSON.stringify(got));
});
ws.on("task_progress", (e) => { document.body.textContent = e.task_id + " " + e.progress + " %"; });
ws.on("state", ({ state, error }) => { document.title = error ? state + ": " + error.message : state; });
if (key) ws.connect();
</script>
<body></body></html>`;

export interface App {
  origin: string;
  close: () => Promise<void>;
}

/** Serves the page. The feed does not have to run yet. */
export async function serveApp(feed: () => string): Promise<App> {
  const server = createServer((_, answer) => answer.writeHead(200, { "Content-Type": "text/html" }).end(html(feed())));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}
