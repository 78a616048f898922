// Keeps the packets of what is looked at for a case, whatever their age, for those who may.

import { useSignal } from "@preact/signals";
import { hold, holds, mayHold, release, summary } from "./api";
import * as format from "./format";
import { looked } from "./state";

const CASE = "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}";

export function Hold() {
  const open = useSignal(false);
  const said = useSignal<{ text: string; bad: boolean } | null>(null);
  const busy = useSignal(false);
  if (!mayHold.value) return null;
  const { value, problem } = summary.value;
  const off = value === null || value.from === null || value.to === null || problem !== null;
  const submit = async (event: Event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    busy.value = true;
    said.value = await hold(String(given.get("case")), String(given.get("note")));
    busy.value = false;
    if (!said.value.bad) open.value = false;
  };
  return (
    <div class="hold">
      <button type="button" aria-expanded={open.value} disabled={off} title="Keep the packets of this range for a case, until it is released"
        onClick={() => { open.value = !open.value; said.value = null; }}>Hold</button>
      {open.value && (
        <form onSubmit={submit} aria-label="Hold">
          <label>Case <input name="case" required pattern={CASE} maxLength={64} placeholder="INC-2041" autocomplete="off" spellcheck={false} /></label>
          <label>Note <input name="note" maxLength={1000} placeholder="why, for whoever finds it" autocomplete="off" /></label>
          <button type="submit" class="primary" disabled={busy.value}>{looked.value.filter === "" ? "Hold this range" : "Hold these packets"}</button>
          {looked.value.search !== "" && <span class="none">Labels do not narrow what is held.</span>}
        </form>
      )}
      {said.value !== null && <p class={said.value.bad ? "bad" : "much"} role="status">{said.value.text}</p>}
      {said.value === null && <Held />}
    </div>
  );
}

/** The cases that are held already. */
function Held() {
  const open = useSignal(false);
  const refused = useSignal<string | null>(null);
  const { holds: all, bytes, bytes_max } = holds.value.value ?? { holds: [], bytes: 0, bytes_max: 0 };
  if (all.length === 0) return null;
  const end = async (name: string) => {
    if (confirm(`Release ${name}? Its packets may expire then.`)) refused.value = await release(name);
  };
  return (
    <div class="held">
      <button type="button" aria-expanded={open.value} onClick={() => { open.value = !open.value; }}>Held: {all.length} ({format.bytes(bytes)} of {format.bytes(bytes_max)})</button>
      {open.value && (
        <ul class="plain-list">
          {all.map((one) => (
            <li key={one.case}><b>{one.case}</b> {format.bytes(one.bytes)} {one.note}
              {typeof one["file"] === "string" && <> <code title="The file of its packets, with its manifest beside it">{one["file"]}</code></>}
              {" "}<button type="button" onClick={() => end(one.case)}>Release</button></li>
          ))}
        </ul>
      )}
      {refused.value !== null && <p class="bad" role="alert">{refused.value}</p>}
    </div>
  );
}
