import { useState } from "preact/hooks";
import { get, Problem, request } from "../api.js";
import { say } from "../announce.js";
import { feedCursor, lastEvents } from "../feed.js";
import { bytes, count } from "../format.js";
import { useLoad } from "../load.js";
import { here, setQuery } from "../router.js";
import { text } from "../strings.js";
import type { Connection, Page, ServerInfo } from "../types.js";
import { Dialog, Empty, Groups, Heading, Loading, ProblemNote, Time } from "../ui/basic.js";
import { Field } from "./filterbar.js";

const every = 3000; // ms between two requests

interface ConnectionPage extends Page<Connection> {
  server: string;
  servers: ServerInfo[];
  /** The last event that this page knew of when it sent the request. */
  head: number;
}

async function listConnections(query: Record<string, string>, signal: AbortSignal): Promise<ConnectionPage> {
  const head = lastEvents().at(-1)?.id ?? feedCursor.peek() ?? 0;
  return { ...await get<ConnectionPage>("v1/connections", { query, signal }), head };
}

/** What the user is about to close: one connection, or all connections of a user. */
type Target = { connection: Connection } | { user: string };

export function Connections() {
  const user = here.value.query.get("user") ?? "";
  const after = here.value.query.get("after") ?? "";
  const query = { limit: "100", ...(user && { user_id: user }), ...(after && { after }) };
  const page = useLoad(`connections ${user} ${after}`, (signal) => listConnections(query, signal), every);
  const [target, setTarget] = useState<Target | null>(null);
  const [closing, setClosing] = useState<ReadonlySet<string>>(new Set());
  const { connections: t } = text;
  const filter = (u: string, next = ""): void =>
    setQuery(new URLSearchParams({ ...(u && { user: u }), ...(next && { after: next }) }), next ? "push" : "replace");
  const closed = (ids: string[]): void => {
    setTarget(null);
    setClosing(new Set([...closing, ...ids]));
    say(t.told);
    page.reload();
  };
  const items = page.data?.items ?? [];
  const ofUser = (u: string): string[] => items.filter((c) => c.user_id === u).map((c) => c.id);

  return (
    <>
      <Heading title={text.screens.connections}>
        {page.data && <p class="small">{t.ofServer} <code>{page.data.server}</code></p>}
      </Heading>
      {page.data && page.data.servers.length > 1 && <Servers servers={page.data.servers} />}
      <search class="filters" aria-label={text.filter.label}>
        <Field label={text.filter.user} value={user} onChange={(u) => filter(u)} search type="search" suggest={items.map((c) => c.user_id)} />
        {user && items.length > 0 && (
          <div class="buttons low"><button type="button" onClick={() => setTarget({ user })}>{t.closeUser(user)}</button></div>
        )}
      </search>
      {page.problem && <ProblemNote problem={page.problem} retry={page.reload} />}
      {!page.data && !page.problem && <Loading />}
      {page.data && items.length === 0 && <Empty>{t.none}</Empty>}
      {items.length > 0 && <ConnectionTable items={items} many={(page.data?.servers.length ?? 0) > 1} head={page.data!.head} closing={closing} onClose={(connection) => setTarget({ connection })} onUser={filter} />}
      {(after || page.data?.next) && (
        <nav class="pages" aria-label={text.tasks.pages}>
          <button type="button" disabled={!after} onClick={() => filter(user)}>{text.tasks.firstPage}</button>
          <button type="button" disabled={!page.data?.next} onClick={() => filter(user, page.data!.next)}>{text.tasks.nextPage}</button>
        </nav>
      )}
      {target && (
        <Confirm target={target} onCancel={() => setTarget(null)}
          onDone={() => closed("user" in target ? ofUser(target.user) : [target.connection.id])} />
      )}
    </>
  );
}

/** The fleet: the servers that answered, cores and gateways. */
function Servers({ servers }: { servers: ServerInfo[] }) {
  const { connections: t } = text;
  const rank = (s: ServerInfo): string => (s.role === "core" ? "0" : "1") + s.name;
  const sorted = [...servers].sort((a, b) => rank(a).localeCompare(rank(b)));
  return (
    <table class="cards servers">
      <caption title={t.serversHint}>{t.servers}</caption>
      <thead>
        <tr>
          <th scope="col">{t.server}</th>
          <th scope="col">{t.role}</th>
          <th scope="col">{t.version}</th>
          <th scope="col" class="number">{t.head}</th>
          <th scope="col" class="number">{t.relayLag}</th>
          <th scope="col" class="number">{t.total}</th>
          <th scope="col" class="number">{t.users}</th>
        </tr>
      </thead>
      <tbody>
        {sorted.map((s) => (
          <tr key={s.server} data-server={s.name}>
            <td>{s.name}</td>
            <td data-label={t.role}>{s.leads ? t.leader : t.roles[s.role]}</td>
            <td data-label={t.version}>{s.version ?? "–"}</td>
            <td class="number" data-label={t.head}>{s.head}</td>
            <td class="number" data-label={t.relayLag}>{s.lag_seconds === undefined ? "–" : t.seconds(s.lag_seconds)}</td>
            <td class="number" data-label={t.total}>{count(s.connections)}</td>
            <td class="number" data-label={t.users}>{count(s.users)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface TableProps {
  items: Connection[]; many: boolean; head: number; closing: ReadonlySet<string>;
  onClose: (connection: Connection) => void; onUser: (user: string) => void;
}

function ConnectionTable({ items, many, head, closing, onClose, onUser }: TableProps) {
  const { connections: t } = text;
  return (
    <table class="cards connections">
      <caption class="offscreen">{text.screens.connections}</caption>
      <thead>
        <tr>
          <th scope="col">{text.column.user}</th>
          <th scope="col">{t.transport}</th>
          <th scope="col">{t.since}</th>
          <th scope="col" class="number">{t.lag}</th>
          <th scope="col" class="number">{t.bytes}</th>
          <th scope="col">{t.address}</th>
          {many && <th scope="col">{t.server}</th>}
          <th scope="col"><span class="offscreen">{t.actions}</span></th>
        </tr>
      </thead>
      <tbody>
        {items.map((c) => (
          <tr key={c.id} data-connection={c.id} data-left={closing.has(c.id) || undefined}>
            <td class="cell-user"><button type="button" class="quiet" title={t.onlyUser} onClick={() => onUser(c.user_id)}>{c.user_id}</button><Groups ids={c.feeds} /></td>
            <td data-label={t.transport}>{c.transport}</td>
            <td class="cell-time" data-label={t.since}><Time at={c.since} /></td>
            <td class="number" data-label={t.lag}>{t.behind(head - c.cursor)}</td>
            <td class="number" data-label={t.bytes}>{bytes(c.bytes_sent)}</td>
            <td data-label={t.address}>{c.remote_addr}</td>
            {many && <td data-label={t.server}>{c.server_name}</td>}
            <td class="number cell-act">
              <button type="button" class="quiet" disabled={closing.has(c.id)} aria-label={`${t.close} ${c.user_id} ${c.id}`}
                onClick={() => onClose(c)}>{closing.has(c.id) ? t.closing : t.close}</button>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Confirm({ target, onCancel, onDone }: { target: Target; onCancel: () => void; onDone: () => void }) {
  const { connections: t } = text;
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const user = "user" in target ? target.user : target.connection.user_id;
  const url = "user" in target
    ? `v1/users/${encodeURIComponent(target.user)}/connections`
    : `v1/connections/${encodeURIComponent(target.connection.id)}`;
  const close = async (): Promise<void> => {
    setBusy(true);
    try {
      await request(url, { method: "DELETE" });
      onDone();
    } catch (error) {
      setBusy(false);
      if (error instanceof Problem) setProblem(error);
      else throw error;
    }
  };
  return (
    <Dialog title={"user" in target ? t.confirmUser(user) : t.confirmOne(user)} onClose={onCancel}>
      <p>{t.consequence}</p>
      {problem && <ProblemNote problem={problem} />}
      <div class="buttons">
        <button type="button" onClick={onCancel}>{text.cancel}</button>
        <button type="button" class="danger" disabled={busy} onClick={() => void close()}>{t.close}</button>
      </div>
    </Dialog>
  );
}

