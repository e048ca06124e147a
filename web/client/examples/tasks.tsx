// A user's tasks, live. `/token` is a URL of the app that returns a JWT for the logged-in user.
import { createRoot } from "react-dom/client";
import { localStorageCursor, TaskFeed, TokenRejected, type Snapshot } from "@taskfeed/client";
import { TaskFeedProvider, useTask, useTaskFeed, useTasks } from "@taskfeed/client/react";

const userId = "alice";
const getToken = async (): Promise<string> => {
  const answer = await fetch("/token");
  if (answer.status === 401) throw new TokenRejected("sign in again");
  if (!answer.ok) throw new Error(`token: ${answer.status}`);
  return answer.text();
};

async function loadSnapshot(): Promise<Snapshot> {
  const headers = { Authorization: `Bearer ${await getToken()}` };
  const snapshot: Snapshot = { tasks: [] };
  let after = "";
  do {
    const answer = await fetch("/v1/me/tasks?limit=500" + after, { headers });
    if (!answer.ok) throw new Error(`tasks: ${answer.status}`);
    const page = await answer.json();
    snapshot.tasks.push(...page.items);
    snapshot.cursor ??= page.cursor; // the first page has it, for all pages
    after = page.next && `&after=${encodeURIComponent(page.next)}`;
  } while (after);
  return snapshot;
}

const feed = new TaskFeed({ userId, getToken, loadSnapshot, shared: true, cursorStore: localStorageCursor("tasks", sessionStorage) });

function Row({ id }: { id: string }) {
  const task = useTask(id);
  if (!task) return null;
  return (
    <li>
      {task.kind ?? task.id}: {task.status} <progress max={100} value={task.progress} /> {task.message}
    </li>
  );
}

function App() {
  const { state, error } = useTaskFeed();
  const tasks = useTasks();
  return (
    <main>
      <p role="status">{state} {error?.message}</p>
      <ul>{tasks.map(({ id }) => <Row key={id} id={id} />)}</ul>
    </main>
  );
}

createRoot(document.body).render(<TaskFeedProvider feed={feed}><App /></TaskFeedProvider>);
