// When, and which: the range, the filter, the search.

import { useEffect, useRef, useState } from "preact/hooks";
import { Alert, isAlert, openAlert } from "./alert";
import { checkFilter, fieldOf, trouble } from "./api";
import { Range } from "./range";
import { Saved } from "./saved";
import { look, looked, type View } from "./state";
import type { Problem } from "./types";

const CHECK_AFTER_MS = 250;

export function Toolbar() {
  return (
    <div class="toolbar" role="search">
      <Range />
      <Saved />
      <Alert />
      <Filter />
      <Search />
      <Trouble />
    </div>
  );
}

/** What went wrong with none of the fields. */
function Trouble() {
  const { value: problem } = trouble;
  if (problem === null || fieldOf(problem) !== null) return null;
  return <p class="problem trouble" role="alert">{problem.detail ?? problem.title}</p>;
}

function Filter() {
  const applied = looked.value.filter;
  const [text, setText] = useState(applied);
  const [found, setProblem] = useState<Problem | null>(null);
  const told = trouble.value !== null && fieldOf(trouble.value) === "filter" && text === applied ? trouble.value : null;
  const problem = found ?? told;
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
      if (event.key === "/" && !(event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement)) {
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
          onPaste={(event) => {
            const pasted = event.clipboardData?.getData("text/plain") ?? "";
            if (!isAlert(pasted)) return;
            event.preventDefault();
            openAlert(pasted);
          }}
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
  const problem = trouble.value !== null && fieldOf(trouble.value) === "search" ? trouble.value : null;
  return (
    <div class="search">
    <label>Labels
      <input value={text} aria-invalid={problem !== null} aria-describedby="search-problem" spellcheck={false} placeholder="sni:example.com AND bytes:>1000000"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => { if (event.key === "Enter") look({ search: text }); }}
        onChange={() => look({ search: text })} />
    </label>
    <p id="search-problem" class="problem" role="alert">{problem?.detail ?? problem?.title}</p>
    </div>
  );
}
