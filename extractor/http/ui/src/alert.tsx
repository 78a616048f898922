// An alert of another tool, pasted: the service reads it, and the page goes to its packets.

import { useEffect, useRef } from "preact/hooks";
import { signal, useSignal } from "@preact/signals";
import { readAlert } from "./api";
import * as format from "./format";
import { look, shownAt, zone } from "./state";
import type { AlertSelection } from "./types";

const WINDOWS = [["10 s", "10s"], ["1 min", "1m"], ["10 min", "10m"], ["1 h", "1h"]] as const;
const WINDOW = "1m";
const COMMUNITY_ID = /^\W*(community_?id\W*)?1:[A-Za-z0-9+/]{27}=\W*$/i;
const KINDS = { "community-id": "a Community ID", tuple: "a 5-tuple", eve: "Suricata", zeek: "Zeek" } as const;

/** Text that is being read as an alert; null: the field is closed. */
const pasted = signal<string | null>(null);
/** What was read, and the address that it led to: elsewhere it is told no more. */
const said = signal<{ words: string; at: string } | null>(null);

/** True for a text that is no filter, but an event of another tool. */
export const isAlert = (text: string): boolean => /^\s*\{|\t|->|→|\[\*\*\]|\S\s*[\r\n]+\s*\S/.test(text) || COMMUNITY_ID.test(text);

/** Opens the field with a text, and reads it. */
export function openAlert(text: string): void {
  pasted.value = text;
  said.value = null;
}

/** What was read, in words. */
function words({ kind, events, from, to }: AlertSelection): string {
  const range = from === undefined || to === undefined ? "It has no time: the range is as it was" : `${format.dayTime(from)} to ${format.dayTime(to)}`;
  return `Read as ${KINDS[kind]}${events > 1 ? ` (${events} events)` : ""}. ${range}.`;
}

export function Alert() {
  const box = useRef<HTMLTextAreaElement>(null);
  const problem = useSignal<string | null>(null);
  const busy = useSignal(false);
  const span = useSignal<string>(WINDOW);
  const text = pasted.value;
  const isOpen = text !== null;
  const go = async (given: string) => {
    busy.value = true;
    const { read, problem: wrong } = await readAlert(given, span.value, zone);
    busy.value = false;
    problem.value = wrong;
    if (read === null) return;
    const range = read.from === undefined || read.to === undefined ? {} : { from: read.from, to: read.to };
    look({ filter: read.filter, search: read.query ?? "", untagged: read.ignore_vlan, view: "inner", flow: null, packet: null, host: null, ...range });
    pasted.value = null;
    said.value = { words: words(read), at: shownAt.value };
  };
  useEffect(() => {
    if (!isOpen) return;
    problem.value = null;
    box.current?.focus();
    // What was pasted into another field is read at once.
    if (text !== "") void go(text);
  }, [isOpen]);
  const close = () => { pasted.value = null; };
  return (
    <div class="alert" onKeyDown={(event) => { if (event.key === "Escape") close(); }}>
      <button type="button" aria-expanded={isOpen} title="Paste an alert of another tool, and see its packets" onClick={() => (isOpen ? close() : openAlert(""))}>Alert</button>
      {said.value?.at === shownAt.value && !isOpen && <span class="said" role="status">{said.value.words}</span>}
      {isOpen && (
        <form class="card menu" aria-label="Alert" onSubmit={(event) => { event.preventDefault(); void go(text); }}>
          <label for="alert-text">A Community ID, a 5-tuple, or lines of Suricata or Zeek</label>
          <textarea id="alert-text" ref={box} rows={4} spellcheck={false} value={text} aria-invalid={problem.value !== null} aria-describedby="alert-problem"
            placeholder={"tcp 10.0.0.5:50000 -> 192.0.2.1:443\n1:wCb3OG7yAFWelaUydu0D+125CLM="}
            onInput={(event) => { pasted.value = event.currentTarget.value; problem.value = null; }}
            onPaste={(event) => {
              const whole = event.clipboardData?.getData("text/plain") ?? "";
              if (text !== "" || whole === "") return;
              event.preventDefault();
              pasted.value = whole;
              void go(whole);
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); void go(text); }
            }} />
          <p id="alert-problem" class="problem" role="alert">{problem.value}</p>
          <p class="row">
            <label>Before and after <select value={span.value} onChange={(event) => { span.value = event.currentTarget.value; }}>
              {WINDOWS.map(([name, value]) => <option key={value} value={value}>{name}</option>)}
            </select></label>
            <button type="submit" class="primary" disabled={busy.value || text.trim() === ""}>Show its packets</button>
          </p>
        </form>
      )}
    </div>
  );
}
