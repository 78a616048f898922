// When, and which: the range, the filter, the search.

import { useEffect, useRef, useState } from "preact/hooks";
import { checkFilter, summary } from "./api";
import * as format from "./format";
import { look, looked, type View } from "./state";
import type { Problem } from "./types";

const PRESETS = [["15 min", "15min ago"], ["1 h", "1h ago"], ["6 h", "6h ago"], ["24 h", "24h ago"], ["7 d", "7d ago"], ["All", null]] as const;
const CHECK_AFTER_MS = 250;

export function Toolbar() {
  return (
    <form class="toolbar" onSubmit={(event) => event.preventDefault()} role="search">
      <Range />
      <Filter />
      <Search />
    </form>
  );
}

function Range() {
  const { from, to } = looked.value;
  return (
    <div class="range">
      <div class="presets" role="group" aria-label="Range">
        {PRESETS.map(([name, start]) => (
          <button type="button" key={name} aria-pressed={to === null && from === start} onClick={() => look({ from: start, to: null })}>{name}</button>
        ))}
      </div>
      <Instant name="From" value={from} absent="oldest" set={(value) => look({ from: value })} />
      <Instant name="To" value={to} absent="now" set={(value) => look({ to: value })} />
      <button type="button" title="Double the range" aria-label="Zoom out" onClick={zoomOut}>−</button>
    </div>
  );
}

function Instant({ name, value, absent, set }: { name: string; value: string | null; absent: string; set: (value: string | null) => void }) {
  return (
    <label>{name}
      <input key={value} defaultValue={value ?? ""} placeholder={absent} size={24} spellcheck={false}
        title="2026-11-22T09:30:00Z, 2026-11-22 09:30 (UTC), 2h ago, Unix seconds"
        onChange={(event) => set(event.currentTarget.value.trim() || null)} />
    </label>
  );
}

/** The range shown, and half of it more at either end. */
function zoomOut() {
  const shown = summary.value.value;
  if (shown === null || shown.from === null || shown.to === null) return;
  const [from, to] = [Date.parse(shown.from), Date.parse(shown.to)];
  const half = Math.max((to - from) / 2, 500);
  const end = to + half;
  look({ from: new Date(from - half).toISOString(), to: end > Date.now() ? null : new Date(end).toISOString() });
}

function Filter() {
  const applied = looked.value.filter;
  const [text, setText] = useState(applied);
  const [problem, setProblem] = useState<Problem | null>(null);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => setText(applied), [applied]);
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      checkFilter(text, abort.signal).then((found) => { if (!abort.signal.aborted) setProblem(found); }).catch(() => undefined);
    }, CHECK_AFTER_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      if (event.key === "/" && !(event.target instanceof HTMLInputElement)) {
        event.preventDefault();
        box.current?.focus();
      }
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  return (
    <div class="filter">
      <label>Filter
        <input ref={box} id="filter" value={text} spellcheck={false} autocapitalize="off" autocomplete="off"
          placeholder="host 10.0.0.5 and port 443   (pcap-filter; press /)" aria-invalid={problem !== null} aria-describedby="filter-problem"
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") look({ filter: text });
            if (event.key === "Escape") setText(applied);
          }} />
      </label>
      <select aria-label="Part of a tunnelled packet that the filter is applied to" value={looked.value.view}
        onChange={(event) => look({ view: event.currentTarget.value as View })}>
        <option value="inner">inner packet</option>
        <option value="outer">outer packet</option>
        <option value="any">either</option>
      </select>
      <label class="check"><input type="checkbox" checked={looked.value.untagged}
        onChange={(event) => look({ untagged: event.currentTarget.checked })} />ignore VLAN tags</label>
      <button type="button" class="primary" disabled={problem !== null || text === applied} onClick={() => look({ filter: text })}>Apply</button>
      {applied !== "" && <button type="button" onClick={() => look({ filter: "" })}>Clear</button>}
      <FilterProblem id="filter-problem" text={text} problem={problem} />
    </div>
  );
}

/** The filter's text with the place where it goes wrong, and why. */
function FilterProblem({ id, text, problem }: { id: string; text: string; problem: Problem | null }) {
  const position = problem?.position;
  return (
    <p id={id} class="problem" role="alert">
      {problem !== null && position !== undefined && <code>{text.slice(0, position)}<mark>{text.slice(position) || " "}</mark></code>}
      {problem !== null && <span>{problem.message ?? problem.detail ?? problem.title}</span>}
    </p>
  );
}

function Search() {
  const applied = looked.value.search;
  const [text, setText] = useState(applied);
  useEffect(() => setText(applied), [applied]);
  return (
    <label class="search">Labels
      <input value={text} spellcheck={false} placeholder="sni:example.com AND bytes:>1000000"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => { if (event.key === "Enter") look({ search: text }); }}
        onChange={() => look({ search: text })} />
    </label>
  );
}

/** What the range is in words, for others to show. */
export function rangeWords(): string {
  const shown = summary.value.value;
  if (shown === null || shown.from === null || shown.to === null) return "";
  return `${format.dayTime(shown.from)} to ${format.timeOfDay(shown.to)} (${format.duration(format.seconds(shown.from, shown.to))})`;
}
