// Keeps the packets of what is looked at for a case, whatever their age, for those who may.

import { useSignal } from "@preact/signals";
import { hold, holds, mayHold, summary } from "./api";
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
  const cases = holds.value.value?.holds ?? [];
  if (cases.length === 0) return null;
  return <p class="much">Held: {cases.map((one) => one.case).join(", ")}</p>;
}
