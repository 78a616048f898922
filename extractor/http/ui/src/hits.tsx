// A list of addresses or ports, such as indicators of compromise: which of them there are packets of, and a way to these.

import { signal } from "@preact/signals";
import { hitsOf, mayExtract } from "./api";
import * as format from "./format";
import { asked, look, looked } from "./state";
import type { Hit, HitList } from "./types";

/** Longest list that the service reads. */
const LIST_BYTES_MAX = 4 << 20;
/** Entries that a filter of its own is made of. */
const FILTER_ENTRIES_MAX = 40;
/** Rows that are shown. */
const ROWS_MAX = 500;

type Kind = "hosts" | "ports";
const KINDS: readonly [Kind, string, string][] = [
  ["hosts", "Addresses", "192.0.2.7\n198.51.100.0/24   # networks, ranges, and !exceptions\n2001:db8::5-2001:db8::9"],
  ["ports", "Ports", "4444\n8000-8100\n!8080"],
];

const kind = signal<Kind>("hosts");
const text = signal("");
const problem = signal<string | null>(null);
const busy = signal(false);
/** What was found, and for which range and filter. */
const found = signal<{ list: HitList; kind: Kind; of: string; text: string } | null>(null);

async function search(): Promise<void> {
  const [of, list, what] = [`${asked.value}&${looked.value.search}`, text.value, kind.value];
  problem.value = null;
  busy.value = true;
  const answer = await hitsOf(what, list);
  busy.value = false;
  problem.value = answer.problem;
  found.value = answer.list === null ? null : { list: answer.list, kind: what, of, text: list };
}

async function choose(event: Event): Promise<void> {
  const input = event.currentTarget as HTMLInputElement;
  const file = input.files?.[0];
  if (file === undefined) return;
  problem.value = null;
  if (file.size > LIST_BYTES_MAX) {
    problem.value = `${file.name} has more than ${format.bytes(LIST_BYTES_MAX)}: use netrewind extract --hosts-file`;
    return;
  }
  text.value = await file.text();
  input.value = "";
  void search();
}

/** A filter for the packets of a short list of plain entries; null for others. */
function filterOf(what: Kind, list: string): string | null {
  const entries = list.split(/\r?\n/).map((line) => line.replace(/[#;].*$/, "").trim()).filter((line) => line !== "").flatMap((line) => line.split(/[\s,]+/));
  if (entries.length === 0 || entries.length > FILTER_ENTRIES_MAX) return null;
  const one = (entry: string): string | null => {
    if (what === "ports") return /^\d+$/.test(entry) ? `port ${entry}` : /^\d+-\d+$/.test(entry) ? `portrange ${entry}` : null;
    return /^[\da-fA-F:.]+$/.test(entry) ? `host ${entry}` : /^[\da-fA-F:.]+\/\d+$/.test(entry) ? `net ${entry}` : null;
  };
  const parts = entries.map(one);
  return parts.every((part) => part !== null) ? parts.join(" or ") : null;
}

/** Goes on to packets, within what is looked at. */
function show(demand: string): void {
  const { filter } = looked.value;
  look({ filter: filter.trim() === "" ? demand : `(${filter.trim()}) and (${demand})`, untagged: true, tab: "packets" });
}

export function Hits() {
  if (!mayExtract.value) return <p class="none">This token may show conversations, but no packets.</p>;
  const [, , example] = KINDS.find(([name]) => name === kind.value) ?? KINDS[0]!;
  return (
    <div class="hits" aria-busy={busy.value}>
      <form aria-label="List" onSubmit={(event) => { event.preventDefault(); void search(); }}>
        <p class="row">
          <span class="choice" role="group" aria-label="Kind of list">
            {KINDS.map(([name, words]) => <button type="button" key={name} aria-pressed={kind.value === name} onClick={() => { kind.value = name; problem.value = null; }}>{words}</button>)}
          </span>
          <label class="button">Choose a file <input type="file" class="unseen" accept=".txt,.csv,.json,.netset,.ipset,text/*,application/json" onChange={choose} /></label>
        </p>
        <label for="list-text">Lines, or JSON of MISP: looked for in the range and with the filter above</label>
        <textarea id="list-text" rows={5} spellcheck={false} value={text.value} placeholder={example} aria-invalid={problem.value !== null} aria-describedby="list-problem"
          onInput={(event) => { text.value = event.currentTarget.value; problem.value = null; }} />
        <p id="list-problem" class="problem" role="alert">{problem.value}</p>
        <button type="submit" class="primary" disabled={busy.value || text.value.trim() === ""}>{busy.value ? "Looking…" : "Look for them"}</button>
      </form>
      {found.value !== null && <Found />}
    </div>
  );
}

function Found() {
  if (found.value === null) return null;
  const { list: { hits, packets, bytes, uncounted }, kind: what, of, text: list } = found.value;
  const isOld = of !== `${asked.value}&${looked.value.search}`;
  const all = packets > 0 ? filterOf(what, list) : null;
  return (
    <section class={isOld ? "found old" : "found"}>
      <p role="status">
        {packets === 0 ? "No packet has any of them." : `${format.count(packets)} packets (${format.bytes(bytes)})${what === "hosts" ? ` of ${format.count(hits.length)} addresses` : ""}.`}
        {isOld && " Something else is looked at now: look for them again."}
        {uncounted > 0 && ` ${format.count(uncounted)} packets are of further addresses.`}
        {all !== null && <> <button type="button" onClick={() => show(all)}>Show all these packets</button></>}
      </p>
      {hits.length > 0 && (
        <div class="scroll">
          <table class="hit-table">
            <thead><tr><th scope="col">Address</th><th scope="col">Entry</th><th class="amount" scope="col">Packets</th><th class="amount" scope="col">Bytes</th><th scope="col">First</th><th scope="col">Last</th></tr></thead>
            <tbody>{hits.slice(0, ROWS_MAX).map((hit) => <Row key={hit.address} hit={hit} />)}</tbody>
          </table>
        </div>
      )}
      {hits.length > ROWS_MAX && <p class="empty">and {format.count(hits.length - ROWS_MAX)} more: /api/v1/packets/hits has all.</p>}
    </section>
  );
}

function Row({ hit: { address, entry, packets, bytes, first, last } }: { hit: Hit }) {
  const open = () => show(`host ${address}`);
  return (
    <tr tabIndex={0} title={`Packets of ${address}`} onClick={open} onKeyDown={(event) => { if (event.key === "Enter") open(); }}>
      <td class="end"><code>{address}</code></td>
      <td><code>{entry}</code></td>
      <td class="amount">{format.count(packets)}</td>
      <td class="amount">{format.bytes(bytes)}</td>
      <td class="when" title={first}>{format.dayTime(first)}</td>
      <td class="when" title={last}>{format.dayTime(last)}</td>
    </tr>
  );
}
