import { useEffect, useState } from "preact/hooks";
import { get, Problem } from "./api.js";
import { follow } from "./feed.js";
import { epoch } from "./health.js";
import { here, path } from "./router.js";
import { admin, session, type Session } from "./session.js";
import { About } from "./screens/about.js";
import { Connections } from "./screens/connections.js";
import { Diagnostics } from "./screens/diagnostics.js";
import { Live } from "./screens/live.js";
import { Login } from "./screens/login.js";
import { Overview } from "./screens/overview.js";
import { Playground } from "./screens/playground.js";
import { Sources } from "./screens/sources.js";
import { Task } from "./screens/task.js";
import { Tasks } from "./screens/tasks.js";
import { text } from "./strings.js";
import { Heading, Loading, ProblemNote } from "./ui/basic.js";
import { Shell } from "./ui/shell.js";

export function App() {
  const who = session.value;
  return who ? <LoggedIn key={who.token} who={who} /> : <Login />;
}

interface Me { user_id: string; role?: string; admin: boolean; feeds?: string[]; expires_at?: string }

/** Asks the server who the user of the token is, then follows the feed for as long as the token is used. */
function LoggedIn({ who }: { who: Session }) {
  const [known, setKnown] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    if (known) return;
    const abort = new AbortController();
    get<Me>("v1/me", { signal: abort.signal }).then(
      (me) => {
        session.value = { ...who, user: me.user_id, groups: me.feeds ?? who.groups, admin: me.admin };
        setProblem(null);
        setKnown(true);
      },
      (error) => { if (!abort.signal.aborted) setProblem(error instanceof Problem ? error : null); },
    );
    return () => abort.abort();
  }, [epoch.value]);
  useEffect(() => (known ? follow(session.peek()!) : undefined), [known]);
  return (
    <Shell>
      {known ? <Screen /> : problem ? <ProblemNote problem={problem} /> : <Loading />}
    </Shell>
  );
}

function Screen() {
  const [first = "", ...rest] = here.value.parts;
  if (first === "tasks" && rest.length === 1) return <Task key={rest[0]} id={rest[0]!} />;
  if (rest.length > 0) return <NotFound />;
  if (first === "" && !admin.value) return <Tasks />;
  if (["", "connections", "sources", "diagnostics"].includes(first) && !admin.value) return <AdminsOnly />;
  switch (first) {
    case "": return <Overview />;
    case "tasks": return <Tasks />;
    case "live": return <Live />;
    case "connections": return <Connections />;
    case "sources": return <Sources />;
    case "playground": return <Playground />;
    case "diagnostics": return <Diagnostics />;
    case "about": return <About />;
  }
  return <NotFound />;
}

function AdminsOnly() {
  return (
    <>
      <Heading title={text.problem.adminTitle} />
      <p>{text.problem.adminOnly} <a href={path()}>{text.toStart}</a></p>
    </>
  );
}

function NotFound() {
  return (
    <>
      <Heading title={text.notFound} />
      <p>{text.notFoundHint} <a href={path()}>{text.toStart}</a></p>
    </>
  );
}
