import { feedCursor, feedReason, feedState, seen } from "../feed.js";
import { bytes, count } from "../format.js";
import { readiness } from "../health.js";
import { useLoad } from "../load.js";
import { parseMetrics, total } from "../prometheus.js";
import { getText } from "../api.js";
import { base } from "../router.js";
import { text } from "../strings.js";
import { Heading, ProblemNote } from "../ui/basic.js";
import { Icon } from "../ui/icons.js";

const every = 3000; // ms between two requests

/** The server's checks and metrics, and the state of the feed in this page. */
export function Diagnostics() {
  const { diagnostics: t } = text;
  const ready = useLoad("readiness", readiness, every);
  return (
    <>
      <Heading title={text.screens.diagnostics} />
      {ready.problem && <ProblemNote problem={ready.problem} />}
      <section class="panel" aria-labelledby="h-checks">
        <h2 id="h-checks">{t.checks}</h2>
        <ul class="checks">
          {ready.data?.checks.map((check) => (
            <li key={check.name} data-good={String(check.ok)}>
              <Icon name={check.ok ? "ok" : "bad"} />
              <strong>{t.names[check.name] ?? check.name}</strong>: {check.ok ? t.well : t.fails}
              {check.detail && <span class="small"> {check.detail}</span>}
              {!check.ok && t.advice[check.name] && <p class="small">{t.advice[check.name]}</p>}
            </li>
          ))}
        </ul>
      </section>
      <div class="columns even">
        <Figures />
        <ThisPage />
      </div>
    </>
  );
}

function Figures() {
  const { diagnostics: t } = text;
  const metrics = useLoad("diagnostic metrics", async (signal) =>
    parseMetrics(await getText("v1/metrics", { accept: "text/plain", signal })), every);
  if (!metrics.data) return <section class="panel"><h2>{t.figures}</h2><p class="small">{text.overview.noMetrics}</p></section>;
  const samples = metrics.data;
  const rows = t.metrics.map(([name, words]) => ({ name, words, value: total(samples, name) })).filter((row) => row.value !== null);
  return (
    <section class="panel" aria-labelledby="h-figures">
      <h2 id="h-figures">{t.figures}</h2>
      <dl class="pairs">
        {rows.map(({ name, words, value }) => <div key={name} title={name}><dt>{words}</dt><dd class="number">{name.endsWith("_bytes") ? bytes(value!) : count(value!)}</dd></div>)}
      </dl>
    </section>
  );
}

function ThisPage() {
  const { diagnostics: t } = text;
  const { events, reconnects, resets } = seen.value;
  const pairs: [string, string][] = [
    [t.feedState, text.feed[feedState.value] + (feedReason.value && ` (${feedReason.value})`)],
    [text.live.cursor, String(feedCursor.value ?? "–")],
    [text.live.total, count(events)],
    [text.live.reconnects, count(reconnects)],
    [text.live.resets, count(resets)],
    [t.base, base.href],
    [t.secure, isSecureContext ? t.yes : t.no],
    [t.browser, navigator.userAgent],
  ];
  return (
    <section class="panel" aria-labelledby="h-page">
      <h2 id="h-page">{t.page}</h2>
      <dl class="pairs">{pairs.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </section>
  );
}
