// Recording or not, how fast, what was lost, how full, and how far back one can go.

import { status } from "./api";
import * as format from "./format";
import { hasSession, isAskedForToken, signOut } from "./session";
import { look, looked, theme, type Theme } from "./state";

/** Where the page of one recorder is, if the service has several. */
const ONE_OF_SEVERAL = /\/recorders\/[^/]+\/$/;
const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_SIGN: Record<Theme, string> = { system: "◐", light: "☀", dark: "☾" };

function sum(drops: unknown): number {
  if (typeof drops === "number") return drops;
  if (typeof drops !== "object" || drops === null) return 0;
  return Object.values(drops).reduce((total: number, value) => total + (typeof value === "number" ? value : 0), 0);
}

const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
const text = (value: unknown): string | null => (typeof value === "string" ? value : null);

export function StatusStrip() {
  const { value, problem } = status.value;
  const packets = number(value?.["packets_per_second"]);
  const bits = number(value?.["bits_per_second"]);
  const disk = number(value?.["disk_bytes"]);
  const budget = number(value?.["budget_bytes"]);
  const oldest = text(value?.["rewind_to"]);
  const down = Array.isArray(value?.["down"]) ? (value["down"] as string[]) : [];
  const trouble = text(value?.["trouble"]);
  const dropped = sum(value?.["dropped_last_day"]);
  const recording = packets !== null;
  const isForOthers = problem?.status === 403;
  const state = problem !== null ? "away" : value === null ? "unknown" : recording ? "recording" : "idle";
  const words = { away: "No answer", unknown: "…", recording: "Recording", idle: "Not recording" }[state];
  return (
    <header class="strip">
      <h1><a href="./" onClick={(event) => { event.preventDefault(); look({ from: "1h ago", to: null, filter: "", search: "", flow: null }); }}>netrewind</a></h1>
      {!isForOthers && <p class={`state ${state}`} role="status" title={problem?.detail ?? text(value?.["writer"]) ?? ""}><i aria-hidden="true" />{words}</p>}
      {recording && <p><b>{format.bits(bits ?? 0)}</b> <span>{format.packets(packets)}</span></p>}
      {value !== null && <p class={dropped > 0 ? "bad" : "good"}><b>{format.count(dropped)}</b> <span>dropped in 24 h</span></p>}
      {trouble !== null && <p class="bad" title={trouble}><b>Packets cannot be written</b></p>}
      {down.length > 0 && <p class="bad"><b>{down.join(", ")}</b> <span>down</span></p>}
      {disk !== null && (
        <p><b>{format.bytes(disk)}</b> <span>{budget === null ? "stored" : `of ${format.bytes(budget)}`}</span>
          {budget !== null && <meter min={0} max={1} value={disk / budget} aria-label="Share of the budget in use" />}</p>
      )}
      {oldest !== null && (
        <p class="rewind"><span>Rewind to</span>{" "}
          <button type="button" class="link" title={`Show everything since ${oldest}`} onClick={() => look({ from: null, to: null })}>
            {format.dayTime(oldest)}
          </button></p>
      )}
      <span class="push" />
      {ONE_OF_SEVERAL.test(location.pathname) && <a class="button plain" href="../../">All recorders</a>}
      {hasSession.value && !isAskedForToken.value && <button type="button" class="plain" onClick={signOut}>Sign out</button>}
      <button type="button" class="icon" title={`Colours: ${theme.value}`} aria-label={`Colours: ${theme.value}`}
        onClick={() => { theme.value = NEXT[theme.value]; }}>{THEME_SIGN[theme.value]}</button>
      {looked.value.to !== null && <button type="button" class="plain" onClick={() => look({ from: "1h ago", to: null })}>Back to now</button>}
    </header>
  );
}
