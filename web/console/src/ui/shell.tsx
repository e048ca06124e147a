import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { say, spoken } from "../announce.js";
import { feedReason, feedState } from "../feed.js";
import { health, probe } from "../health.js";
import { helpOpen } from "../keys.js";
import { here, path } from "../router.js";
import { admin, byApp, logout, session } from "../session.js";
import { clock, paused, payloads, shortcuts, theme, themes, timeModes, times } from "../settings.js";
import { text } from "../strings.js";
import { Choice, Dialog, Groups } from "./basic.js";
import { Icon, Mark, type IconName } from "./icons.js";

interface Entry { name: keyof typeof text.screens & IconName; to: string; admins?: boolean }

const entries: Entry[] = [
  { name: "overview", to: path(), admins: true },
  { name: "tasks", to: path("tasks") },
  { name: "live", to: path("live") },
  { name: "connections", to: path("connections"), admins: true },
  { name: "sources", to: path("sources"), admins: true },
  { name: "playground", to: path("playground") },
  { name: "diagnostics", to: path("diagnostics"), admins: true },
  { name: "about", to: path("about") },
];

/** The frame around every screen. */
export function Shell({ children }: { children: ComponentChildren }) {
  const place = here.value.parts.join("/");
  const first = useRef(true);
  const [menu, setMenu] = useState(false);
  useEffect(() => {
    setMenu(false);
    if (first.current) first.current = false;
    else toContent();
  }, [place]);
  useEffect(() => { if (!first.current) say(paused.value ? text.pause.paused : text.pause.resumed); }, [paused.value]);
  return (
    <div class="shell" data-menu={menu ? "open" : undefined}>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); toContent(); }}>{text.skip}</a>
      <header class="top">
        <button type="button" class="menu quiet" aria-expanded={menu} aria-controls="side" onClick={() => setMenu(!menu)}>
          <Icon name="menu" /><span>{text.menu}</span>
        </button>
        <a class="brand" href={path()}><Mark />{text.brand}</a>
        <FeedMark />
        <PauseButton />
      </header>
      <aside class="side" id="side" aria-label={text.sidebar}>
        <Navigation current={here.value.parts[0] ?? ""} />
        <Settings />
        <WhoAmI />
      </aside>
      <main id="main">
        <Banners />
        {children}
      </main>
      <div class="offscreen" role="status" aria-live="polite">{spoken.value}</div>
      {helpOpen.value && <Help />}
    </div>
  );
}

function toContent(): void {
  document.querySelector<HTMLElement>("main h1")?.focus();
  scrollTo(0, 0);
}

function Navigation({ current }: { current: string }) {
  return (
    <nav aria-label={text.navigation}>
      <ul>
        {entries.filter((e) => admin.value || !e.admins).map(({ name, to }) => (
          <li key={name}>
            <a href={to} aria-current={current === (to === "./" ? "" : to) ? "page" : undefined}>
              <Icon name={name} />{text.screens[name]}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** The state of the console's own connection, as icon and word. */
function FeedMark() {
  const state = health.value.kind === "away" ? "waiting" : feedState.value;
  const icons: Record<typeof state, IconName> = { off: "away", connecting: "unknown", live: "ok", waiting: "away", ended: "bad" };
  return (
    <p class="feed" data-state={state} title={feedReason.value}>
      <span class="offscreen">{text.feed.label}: </span>
      <Icon name={icons[state]} /><span>{text.feed[state]}</span>
    </p>
  );
}

function PauseButton() {
  return (
    <button type="button" class="pause" aria-pressed={paused.value} onClick={() => { paused.value = !paused.value; }}>
      <Icon name={paused.value ? "resume" : "pause"} />{paused.value ? text.pause.resume : text.pause.pause}
    </button>
  );
}

function Settings() {
  const { settings: t } = text;
  return (
    <details class="settings">
      <summary>{t.title}</summary>
      <Choice label={t.theme} value={theme.value} onChange={(v) => { theme.value = v; }} options={themes.map((v) => [v, t.themes[v]])} />
      <Choice label={t.times} value={times.value} onChange={(v) => { times.value = v; }} options={timeModes.map((v) => [v, t.timeModes[v]])} />
      <Choice label={t.payloads} value={payloads.value} onChange={(v) => { payloads.value = v; }}
        options={[["shown", t.payloadModes.shown], ["covered", t.payloadModes.covered]]} />
      <button type="button" class="quiet" onClick={() => { helpOpen.value = true; }}>{text.help.button}</button>
    </details>
  );
}

function WhoAmI() {
  const who = session.value;
  if (!who) return null;
  return (
    <div class="who">
      <p><strong>{who.user}</strong><span class="small">{admin.value ? text.login.admin : text.login.user}</span>
        <Groups ids={who.groups} /></p>
      {!byApp && <button type="button" class="quiet" onClick={() => logout()}>{text.login.logout}</button>}
    </div>
  );
}

const soon = 5 * 60_000; // ms before a token's end at which it is announced

function Banners() {
  const { kind, failing, since } = health.value;
  const left = (session.value?.expires ?? Infinity) - clock.value;
  const wasAway = useRef(false);
  useEffect(() => {
    if (kind !== "ok") wasAway.current = true;
    else if (wasAway.current) say(text.banner.back);
  }, [kind]);
  return (
    <>
      {kind !== "ok" && (
        <div class="banner" data-kind={kind} role="alert">
          <Icon name="away" />
          <p>{kind === "unready" ? text.banner.unready(failing) : navigator.onLine ? text.banner.away : text.banner.offline}</p>
          <p class="small" aria-hidden="true">{text.banner.since(Math.floor((clock.value - since) / 1000) * 1000)}</p>
          <button type="button" onClick={() => void probe()}>{text.banner.now}</button>
        </div>
      )}
      {feedState.value === "ended" && (
        <div class="banner" data-kind="ended" role="alert"><Icon name="bad" /><p>{text.banner.feedEnded(feedReason.value)}</p></div>
      )}
      {left < soon && (
        <div class="banner" data-kind="expires" role="status">
          <Icon name="warning" /><p>{text.banner.expires(Math.ceil(left / 60_000) * 60_000)}</p>
        </div>
      )}
    </>
  );
}

function Help() {
  const { help: t } = text;
  const keys = admin.value ? [...t.keys, ...t.adminKeys] : t.keys;
  const close = (): void => { helpOpen.value = false; };
  return (
    <Dialog title={t.title} onClose={close}>
      <dl class="keys">
        {keys.map(([key, what]) => <div key={key}><dt>{key.split(" ").map((k) => <kbd key={k}>{k}</kbd>)}</dt><dd>{what}</dd></div>)}
      </dl>
      <Choice label={text.settings.shortcuts} value={shortcuts.value} onChange={(v) => { shortcuts.value = v; }}
        options={[["on", text.settings.on], ["off", text.settings.off]]} />
      <p class="small">{t.offHint}</p>
      <div class="buttons"><button type="button" class="main" autofocus onClick={close}>{text.close}</button></div>
    </Dialog>
  );
}
