// When: the range, by words, by a calendar, and by steps to either side.

import { useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { fieldOf, summary, trouble } from "./api";
import * as format from "./format";
import { isLive, look, looked, refreshes, zone } from "./state";

const PRESETS = [["15 min", "15min ago"], ["1 h", "1h ago"], ["6 h", "6h ago"], ["24 h", "24h ago"], ["7 d", "7d ago"], ["All", null]] as const;
/** Least widening of a range at either end. */
const WIDER_MS_MIN = 500;

export function Range() {
  const { from, to } = looked.value;
  const problem = trouble.value !== null && fieldOf(trouble.value) === "range" ? trouble.value : null;
  return (
    <div class="range">
      <div class="presets" role="group" aria-label="Range">
        {PRESETS.map(([name, start]) => (
          <button type="button" key={name} aria-pressed={to === null && from === start} onClick={() => look({ from: start, to: null })}>{name}</button>
        ))}
      </div>
      <Instant name="From" value={from} shown={summary.value.value?.from ?? null} absent="oldest" isWrong={problem?.parameter === "from"} set={(value) => look({ from: value })} />
      <Instant name="To" value={to} shown={summary.value.value?.to ?? null} absent="now" isWrong={problem?.parameter === "to"} set={(value) => look({ to: value })} />
      <span class="steps" role="group" aria-label="Move the range">
        <button type="button" title="Half a range earlier" aria-label="Earlier" onClick={() => pan(-1)}>◂</button>
        <button type="button" title="Double the range" aria-label="Zoom out" onClick={zoomOut}>−</button>
        <button type="button" title="Half a range later" aria-label="Later" disabled={isLive.value} onClick={() => pan(1)}>▸</button>
      </span>
      <label class="check" title="Ask again every 5 seconds while the range ends now">
        <input type="checkbox" checked={refreshes.value} onChange={(event) => { refreshes.value = event.currentTarget.checked; }} />refresh
      </label>
      <span class="zone" title="Times are shown in the time zone of this browser, and typed ones are meant in it">{zone === "UTC" ? zone : `${zone} (${format.offset(new Date())})`}</span>
      {problem !== null && <p id="range-problem" class="problem" role="alert">{problem.detail ?? problem.title}</p>}
    </div>
  );
}

interface InstantProps { name: string; value: string | null; shown: string | null; absent: string; isWrong: boolean; set: (value: string | null) => void }

/** A time in words, with a calendar beside it. */
function Instant({ name, value, shown, absent, isWrong, set }: InstantProps) {
  const picks = useSignal(false);
  const calendar = useRef<HTMLInputElement>(null);
  const open = () => {
    picks.value = !picks.value;
    // Once it is there.
    setTimeout(() => calendar.current?.focus(), 0);
  };
  return (
    <span class="instant">
      <label>{name}
        <input key={value} defaultValue={value === null ? "" : format.typed(value)} placeholder={absent} size={21} spellcheck={false} aria-invalid={isWrong} aria-describedby={isWrong ? "range-problem" : undefined}
          title="2026-11-22 09:30, 09:30 (today), yesterday 14:00, 2h ago, 2026-11-22T09:30:00Z, Unix seconds"
          onChange={(event) => set(format.absolute(event.currentTarget.value) || null)} />
      </label>
      <button type="button" class="icon" aria-label={`Pick ${name} from a calendar`} title="Calendar" aria-expanded={picks.value} onClick={open}>▦</button>
      {picks.value && (
        <span class="calendar">
          <input ref={calendar} type="datetime-local" step={1} aria-label={`${name}, date and time`} defaultValue={format.local(shown ?? new Date().toISOString())}
            onKeyDown={(event) => {
              if (event.key === "Escape") picks.value = false;
            }} />
          <button type="button" onClick={() => {
            const picked = calendar.current?.value ?? "";
            picks.value = false;
            if (picked !== "") set(new Date(picked).toISOString());
          }}>Set</button>
        </span>
      )}
    </span>
  );
}

/** The ends that are shown, in milliseconds. */
function ends(): [number, number] | null {
  const shown = summary.value.value;
  return shown === null || shown.from === null || shown.to === null ? null : [Date.parse(shown.from), Date.parse(shown.to)];
}

/** The range from `from` to `to`, which follows the clock where it would reach beyond it. */
function show(from: number, to: number): void {
  look({ from: new Date(from).toISOString(), to: to > Date.now() ? null : new Date(to).toISOString() });
}

/** The range shown, and half of it more at either end. */
function zoomOut(): void {
  const shown = ends();
  if (shown === null) return;
  const half = Math.max((shown[1] - shown[0]) / 2, WIDER_MS_MIN);
  show(shown[0] - half, shown[1] + half);
}

/** As long a range, half of it earlier or later. */
function pan(direction: 1 | -1): void {
  const shown = ends();
  if (shown === null) return;
  const step = direction * Math.max((shown[1] - shown[0]) / 2, WIDER_MS_MIN);
  show(shown[0] + step, shown[1] + step);
}

/** What the range is in words, for others to show: both days, where they differ. */
export function rangeWords(): string {
  const shown = summary.value.value;
  if (shown === null || shown.from === null || shown.to === null) return "";
  return `${format.dayTime(shown.from)} to ${format.dayTime(shown.to)} (${format.duration(format.seconds(shown.from, shown.to))})`;
}
