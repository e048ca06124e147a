import { useRef } from "preact/hooks";
import { get } from "../api.js";
import { useLoad } from "../load.js";
import { count } from "../format.js";
import { text } from "../strings.js";
import type { Page, Source } from "../types.js";
import { Empty, Heading, Loading, ProblemNote, Time } from "../ui/basic.js";
import { Icon, type IconName } from "../ui/icons.js";

const every = 5000; // ms between two requests

interface Sample { at: number; writes: number }

/** Rows written a second between the last two answers. `null`: not known yet. */
function useRates(sources: readonly Source[] | undefined): Map<string, number | null> {
  const last = useRef<{ sources: readonly Source[] | undefined; samples: Map<string, Sample>; rates: Map<string, number | null> }>({ sources: undefined, samples: new Map(), rates: new Map() });
  if (sources && sources !== last.current.sources) {
    const samples = new Map(sources.map((s) => [s.name, { at: performance.now(), writes: s.writes }]));
    const rates = new Map(sources.map((s) => [s.name, rate(last.current.samples.get(s.name), samples.get(s.name)!)]));
    last.current = { sources, samples, rates };
  }
  return last.current.rates;
}

function rate(before: Sample | undefined, now: Sample): number | null {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  return before && seconds > 0 && now.writes >= before.writes ? (now.writes - before.writes) / seconds : null;
}

/** The attached tables: what was counted, what is wrong, and what to do about it. */
export function Sources() {
  const page = useLoad("sources", (signal) => get<Page<Source>>("v1/sources", { signal }), every);
  const rates = useRates(page.data?.items);
  const { sources: t } = text;
  const items = page.data?.items ?? [];
  return (
    <>
      <Heading title={text.screens.sources} />
      {page.problem && <ProblemNote problem={page.problem} retry={page.reload} />}
      {!page.data && !page.problem && <Loading />}
      {page.data && items.length === 0 && <Empty>{t.none} <code>{t.command}</code></Empty>}
      {items.length > 0 && (
        <table class="cards sources">
          <caption class="offscreen">{text.screens.sources}</caption>
          <thead>
            <tr>
              <th scope="col">{t.source}</th>
              <th scope="col">{t.state}</th>
              <th scope="col" class="number">{t.rate}</th>
              <th scope="col" class="number">{t.errors}</th>
              <th scope="col" class="number">{t.unmapped}</th>
              <th scope="col" class="number">{t.unowned}</th>
              <th scope="col">{t.attached}</th>
            </tr>
          </thead>
          <tbody>{items.map((s) => <SourceRow key={s.name} source={s} rate={rates.get(s.name) ?? null} />)}</tbody>
        </table>
      )}
    </>
  );
}

function SourceRow({ source: s, rate }: { source: Source; rate: number | null }) {
  const { sources: t } = text;
  return (
    <tr data-source={s.name} data-ok={s.ok}>
      <td class="cell-task">
        <a href={`tasks?source=${encodeURIComponent(s.name)}`}>{s.name}</a>
        <span class="kind">{s.table}</span>
      </td>
      <td data-label={t.state}>
        <State source={s} />
        {s.remedy && <p class="small">{t.remedy} <code>{s.remedy}</code></p>}
        {s.last_error && <p class="small">{t.lastError} {s.last_error_at && <Time at={s.last_error_at} />} <code>{s.last_error}</code></p>}
      </td>
      <td class="number" data-label={t.rate}>{rate === null ? "–" : t.perSecond(rate)}</td>
      <td class="number" data-label={t.errors}>{count(s.errors)}</td>
      <td class="number" data-label={t.unmapped}>{count(s.unmapped)}</td>
      <td class="number" data-label={t.unowned}>{count(s.unowned)}</td>
      <td class="cell-time" data-label={t.attached}><Time at={s.attached_at} /></td>
    </tr>
  );
}

function State({ source: s }: { source: Source }) {
  const { sources: t } = text;
  const [icon, says]: [IconName, string] = !s.ok ? ["bad", s.problem ?? t.broken] : s.problem ? ["warning", s.problem] : s.reading ? ["running", t.reading] : ["ok", t.well];
  return <span class="state"><Icon name={icon} />{says}</span>;
}
