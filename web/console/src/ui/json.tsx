import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { text } from "../strings.js";
import { CopyButton, Payload } from "./basic.js";

const longText = 200; // characters of a string that are shown at first
const manyItems = 100; // items of a list that are shown at first

/** JSON as a tree whose objects and lists fold. */
export function Json({ value, open = 2 }: { value: unknown; open?: number }) {
  return (
    <Payload>
      <div class="json">
        <div class="json-tree"><Node value={value} open={open} /></div>
        <CopyButton words={() => JSON.stringify(value, null, 2)} label={text.copyJSON} />
      </div>
    </Payload>
  );
}

function Node({ name, value, open }: { name?: string; value: unknown; open: number }) {
  if (value === null || typeof value !== "object") return <div class="json-line"><Name name={name} /><Leaf value={value} /></div>;
  const list = Array.isArray(value);
  const entries = list ? value.map((v, i) => [String(i), v] as const) : Object.entries(value);
  if (entries.length === 0) return <div class="json-line"><Name name={name} />{list ? "[ ]" : "{ }"}</div>;
  return (
    <details open={open > 0}>
      <summary><Name name={name} /><span class="json-size">{list ? text.json.items(entries.length) : text.json.fields(entries.length)}</span></summary>
      <Some entries={entries}>{([key, v]) => <Node key={key} name={key} value={v} open={open - 1} />}</Some>
    </details>
  );
}

type Entry = readonly [string, unknown];

function Some({ entries, children }: { entries: readonly Entry[]; children: (entry: Entry) => ComponentChildren }) {
  const [most, set] = useState(manyItems);
  return (
    <div class="json-inner">
      {entries.slice(0, most).map(children)}
      {entries.length > most && (
        <button type="button" class="quiet" onClick={() => set(most * 10)}>{text.json.more(entries.length - most)}</button>
      )}
    </div>
  );
}

function Name({ name }: { name?: string }) {
  return name === undefined ? null : <><span class="json-name">{name}</span>: </>;
}

function Leaf({ value }: { value: unknown }) {
  const [whole, set] = useState(false);
  const words = JSON.stringify(value) ?? "undefined";
  const kind = value === null ? "null" : typeof value;
  const short = !whole && words.length > longText;
  return (
    <>
      <span class="json-value" data-kind={kind}>{short ? words.slice(0, longText) + "…" : words}</span>
      {short && <button type="button" class="quiet" onClick={() => set(true)}>{text.json.whole(words.length)}</button>}
    </>
  );
}
