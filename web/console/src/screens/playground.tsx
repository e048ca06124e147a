import { useEffect, useRef, useState } from "preact/hooks";
import { Problem, request } from "../api.js";
import { duration, stamp } from "../format.js";
import { useLoad } from "../load.js";
import { claimsOf, session, sessionOf } from "../session.js";
import { clock, times } from "../settings.js";
import { text } from "../strings.js";
import { breakOff, clear, close, connect, cursor, lines, ping, tally, trialState, type Line } from "../trial.js";
import { Empty, Fold, Heading, ProblemNote, TypeMark } from "../ui/basic.js";
import { Icon, type IconName } from "../ui/icons.js";
import { Json } from "../ui/json.js";

export function Playground() {
  const { play: t } = text;
  const [token, setToken] = useState("");
  useEffect(() => close, []); // closes the connection when the screen is left
  return (
    <>
      <Heading title={text.screens.playground} />
      <p class="lead">{t.intro}</p>
      <div class="columns wide-side">
        <section class="panel" aria-labelledby="h-frames">
          <div class="heading small-heading">
            <h2 id="h-frames">{t.frames}</h2>
            <p class="small" data-figure="tally">{t.tally(tally.value.events, tally.value.twice)}</p>
            {lines.value.length > 0 && <button type="button" class="quiet push" onClick={clear}>{t.clear}</button>}
          </div>
          <Log />
        </section>
        <div class="stack">
          <section class="panel" aria-labelledby="h-token">
            <h2 id="h-token"><label for="trial-token">{text.login.token}</label></h2>
            <textarea id="trial-token" rows={4} value={token} autocomplete="off" autocapitalize="off" spellcheck={false}
              placeholder={t.paste} onInput={(e) => setToken(e.currentTarget.value.trim())} />
            <button type="button" class="quiet" onClick={() => setToken(session.value?.token ?? "")}>{t.ownToken}</button>
            {token && <ClaimTable token={token} />}
          </section>
          <Controls token={token} />
          <SampleButtons token={token} />
        </div>
      </div>
    </>
  );
}

/** The claims of a token, which only the server verifies. */
function ClaimTable({ token }: { token: string }) {
  const { play: t } = text;
  const claims = claimsOf(token);
  if (!claims) return <p class="note bad" role="alert">{text.login.noToken}</p>;
  const inTime = (name: string, value: unknown): string => {
    if (typeof value !== "number" || !["exp", "iat", "nbf"].includes(name)) return "";
    const left = value * 1000 - clock.value;
    return `${stamp(value * 1000, times.value === "utc")}, ${left > 0 ? t.in(duration(left)) : t.before(duration(-left))}`;
  };
  const expired = typeof claims["exp"] === "number" && claims["exp"] * 1000 < clock.value;
  return (
    <>
      {expired && <p class="note bad">{t.expired}</p>}
      <dl class="claims">
        {Object.entries(claims).map(([name, value]) => (
          <div key={name}><dt><code>{name}</code></dt><dd><code>{JSON.stringify(value)}</code> <span class="small">{inTime(name, value)}</span></dd></div>
        ))}
      </dl>
    </>
  );
}

function Controls({ token }: { token: string }) {
  const { play: t } = text;
  const state = trialState.value;
  const away = state === "closed";
  return (
    <section class="panel" aria-labelledby="h-connection">
      <h2 id="h-connection">{t.connection}: <span data-figure="trial">{t.states[state]}</span></h2>
      <label class="field">
        <span>{t.cursor}</span>
        <input inputMode="numeric" pattern="[0-9]*" value={cursor.value} disabled={!away} placeholder={t.cursorHint}
          onInput={(e) => { cursor.value = e.currentTarget.value.trim(); }} />
      </label>
      <div class="buttons">
        {away
          ? <button type="button" class="main" disabled={!sessionOf(token)} onClick={() => connect(token)}>{t.connect}</button>
          : <button type="button" onClick={close}>{t.close}</button>}
        <button type="button" disabled={state !== "open"} onClick={ping}>{t.ping}</button>
        <button type="button" disabled={state !== "open"} onClick={breakOff}>{t.breakOff}</button>
      </div>
    </section>
  );
}

/** Statements to try, where the server offers them. */
function SampleButtons({ token }: { token: string }) {
  const { play: t } = text;
  const offered = useLoad("samples", async (signal) => {
    const answer = await request("dev/sample", { signal });
    return ((await answer.json()) as { actions: string[] }).actions;
  });
  const [statement, setStatement] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = async (action: string): Promise<void> => {
    try {
      const answer = await request("dev/sample", { method: "POST", query: { action }, token });
      setStatement(((await answer.json()) as { statement: string }).statement);
      setProblem(null);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  if (!offered.data) return null;
  const user = sessionOf(token)?.user;
  return (
    <section class="panel" aria-labelledby="h-samples">
      <h2 id="h-samples">{t.samples}</h2>
      <p class="small">{user ? t.samplesAs(user) : t.samplesNone}</p>
      <div class="buttons">
        {offered.data.map((action) => (
          <button key={action} type="button" disabled={!user} onClick={() => void run(action)}>{t.actions[action] ?? action}</button>
        ))}
      </div>
      {problem && <ProblemNote problem={problem} />}
      {statement && <pre class="statement" tabIndex={0} aria-label={t.statement}>{statement}</pre>}
    </section>
  );
}

function Log() {
  const { play: t } = text;
  const box = useRef<HTMLOListElement>(null);
  if (lines.value.length === 0) return <Empty>{t.nothing}</Empty>;
  return <ol class="events trial" ref={box} aria-label={t.frames}>{lines.value.map((line) => <LogLine key={line.number} line={line} />)}</ol>;
}

function LogLine({ line: { at, kind, words, frame } }: { line: Line }) {
  const { play: t } = text;
  const icons: Record<Line["kind"], IconName> = { sent: "up", received: "down", note: "about" };
  const head = (
    <>
      <span class="trial-kind" data-kind={kind}><Icon name={icons[kind]} />{t.kinds[kind]}</span>
      {typeof frame?.["type"] === "string" && <TypeMark type={frame["type"]} />}
      <span class="event-brief">{frame ? String(frame["id"] ?? frame["cursor"] ?? "") : words}</span>
      <time class="event-time">{stamp(at, times.value === "utc").slice(11)}</time>
    </>
  );
  if (!frame) return <li class="trial-line">{head}</li>;
  return <li data-event={frame["id"] as number | undefined}><Fold line={head}>{() => <Json value={frame} open={1} />}</Fold></li>;
}
