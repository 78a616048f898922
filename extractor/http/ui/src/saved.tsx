// Searches that are kept under a name: each is the address that shows it.

import { signal, useSignal } from "@preact/signals";
import { Copy } from "./packets";
import { looked, shownAt } from "./state";

interface SavedSearch { name: string; address: string }

const SAVED = "netrewind.searches";
const NAME_LENGTH_MAX = 60;

function kept(): SavedSearch[] {
  try {
    const all: unknown = JSON.parse(localStorage.getItem(SAVED) ?? "[]");
    const isSaved = (one: unknown): one is SavedSearch =>
      typeof one === "object" && one !== null && typeof (one as SavedSearch).name === "string" && (one as SavedSearch).address?.startsWith?.("?") === true;
    return Array.isArray(all) ? all.filter(isSaved) : [];
  } catch {
    return [];
  }
}

const searches = signal(kept());

function keep(all: SavedSearch[]): void {
  searches.value = all;
  localStorage.setItem(SAVED, JSON.stringify(all));
}

export function Saved() {
  const open = useSignal(false);
  const submit = (event: Event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const name = String(new FormData(form).get("name")).trim();
    if (name === "") return;
    const { value: address } = shownAt;
    keep([...searches.value.filter((one) => one.name !== name), { name, address: address.startsWith("?") ? address : "?from=1h+ago" }]);
    form.reset();
  };
  return (
    <div class="saved">
      <button type="button" aria-expanded={open.value} onClick={() => { open.value = !open.value; }}>Saved{searches.value.length > 0 && ` (${searches.value.length})`}</button>
      <Copy name="Copy link" text={() => new URL(shownAt.value, location.href).href} />
      {open.value && (
        <div class="card menu">
          {searches.value.length === 0 && <p class="empty">None yet. A saved search is a link, kept in this browser.</p>}
          <ul>
            {searches.value.map((one) => (
              <li key={one.name}>
                <a href={one.address}>{one.name}</a>
                <button type="button" class="icon" aria-label={`Forget ${one.name}`} onClick={() => keep(searches.value.filter((other) => other !== one))}>×</button>
              </li>
            ))}
          </ul>
          <form onSubmit={submit}>
            <label>Name <input name="name" required maxLength={NAME_LENGTH_MAX} placeholder={looked.value.filter || looked.value.search || "this view"} autocomplete="off" /></label>
            <button type="submit" class="primary">Save this view</button>
          </form>
        </div>
      )}
    </div>
  );
}
