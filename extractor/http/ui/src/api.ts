// Requests to the service that the page came from.

import { computed, effect, signal, type Signal } from "@preact/signals";
import { isAskedForToken, sessions } from "./session";
import { asked, isLive, isUnasked, looked, refreshes, turn } from "./state";
import type { AlertSelection, Conversation, DissectionAnswer, HitList, FlowPage, HoldList, PacketPage, Problem, PropertyList, SplitSeries, Stream, Summary } from "./types";

const BASE = "api/v1";
const BUCKETS = 300;
const TOP = 10;
/** Pairs of hosts that a picture is made of: it folds those that it cannot show. */
const EDGES = 400;
export const PACKETS_A_PAGE = 100;
const VALUES = 12;
const PARTS = 8;
/** Data that a page without a range opens on. */
const OPENED_MS = 3_600_000;
export const FLOWS_A_PAGE = 50;
const STREAM_BYTES_MAX = 262144;
const LIVE_EVERY_MS = 5000;
const STATUS_EVERY_MS = 2000;
/** Someone who types is not asked for at every letter. */
const PATIENCE_MS = 150;
const FORBIDDEN = 403;

/** An answer that is a problem document, or none at all. */
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail ?? problem.title);
  }
}

async function get<T>(path: string, abort?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, { headers: { accept: "application/json" }, ...(abort ? { signal: abort } : {}) });
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new Refused({ type: "about:blank", title: "The service does not answer", status: 0 });
  }
  if (response.ok) return (await response.json()) as T;
  if (response.status === 401) isAskedForToken.value = true;
  const problem = await response.json().catch(() => null) as Problem | null;
  throw new Refused(problem ?? { type: "about:blank", title: response.statusText, status: response.status });
}

/** What a part of the page shows: the last answer stays while the next is on its way. */
export interface Shown<T> {
  value: T | null;
  problem: Problem | null;
  busy: boolean;
}

const nothing = <T>(): Shown<T> => ({ value: null, problem: null, busy: false });

/** Keeps `shown` at the answer to `path()`, which is asked again whenever it changes, and with `refresh`. */
function keep<T>(path: () => string | null, refresh: () => number): Signal<Shown<T>> {
  const shown = signal<Shown<T>>(nothing());
  let forbiddenIn = -1;
  // What is looked at may change without it.
  const address = computed(path);
  effect(() => {
    refresh();
    const session = sessions.value;
    // Without the scope for it, it is not asked for again until another token comes.
    if (forbiddenIn === session && !isAskedForToken.value) return;
    const wanted = isAskedForToken.value ? null : address.value;
    if (wanted === null) {
      shown.value = nothing();
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      shown.value = { ...shown.peek(), busy: true };
      try {
        const value = await get<T>(wanted, abort.signal);
        if (!abort.signal.aborted) shown.value = { value, problem: null, busy: false };
      } catch (error) {
        if (abort.signal.aborted) return;
        const problem = error instanceof Refused ? error.problem : { type: "about:blank", title: String(error), status: 0 };
        if (problem.status === FORBIDDEN) forbiddenIn = session;
        shown.value = { value: shown.peek().value, problem, busy: false };
      }
    }, PATIENCE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  });
  return shown;
}

const ticks = signal(0);
const statusTicks = signal(0);
setInterval(() => {
  if (isLive.peek() && refreshes.peek() && !document.hidden) ticks.value += 1;
}, LIVE_EVERY_MS);
setInterval(() => {
  if (!document.hidden) statusTicks.value += 1;
}, STATUS_EVERY_MS);

const joined = (path: string, ...parts: string[]): string =>
  `${BASE}/${path}?${parts.filter((part) => part !== "").join("&")}`;
const search = (): string => {
  const text = looked.value.search.trim();
  return text === "" ? "" : `query=${encodeURIComponent(text)}`;
};

export const summary = keep<Summary>(
  () => joined("summary", asked.value, search(), `buckets=${BUCKETS}`, `top=${TOP}`, `edges=${EDGES}`), () => ticks.value);

export const flows = keep<FlowPage>(() => {
  const { sort, reverse, cursor, tab } = looked.value;
  if (tab !== "flows") return null;
  const at = cursor === null ? "" : `cursor=${encodeURIComponent(cursor)}`;
  return joined("flows", asked.value, search(), `sort=${sort}`, reverse ? "reverse=true" : "", `limit=${FLOWS_A_PAGE}`, at);
}, () => (looked.value.cursor === null ? ticks.value : 0));

/** The largest conversations, where pictures tell services. */
export const largest = keep<FlowPage>(() => {
  const { picture, ends, beside } = looked.value;
  if (picture !== "graph" || (ends === "hosts" && beside === "matrix")) return null;
  return joined("flows", asked.value, search(), `limit=${EDGES}`);
}, () => ticks.value);

/** Asks for next to nothing, once: only whether it may be asked. */
const probe = keep<unknown>(() => `${BASE}/packets/estimate?from=-1s&max_packets=0`, () => 0);

/** Whether the token is for packets too. */
export const mayExtract = computed(() => probe.value.problem?.status !== FORBIDDEN);

/** Packets in lines: a page is asked for once, for it costs reading. */
export const packetPage = keep<PacketPage>(() => {
  const { tab, at } = looked.value;
  if (tab !== "packets" || !mayExtract.value) return null;
  const start = at === null ? "" : `cursor=${encodeURIComponent(at)}`;
  return joined("packets/list", asked.value, search(), `limit=${PACKETS_A_PAGE}`, start);
}, () => 0);

/** One packet with its bytes. */
export const packet = keep<PacketPage>(() => {
  const { packet: cursor } = looked.value;
  if (cursor === null) return null;
  return joined("packets/list", asked.value, search(), "limit=1", "bytes=true", `cursor=${encodeURIComponent(cursor)}`);
}, () => 0);

const health = keep<{ dissects?: boolean }>(() => "healthz", () => 0);
/** Whether the service can take packets apart. */
export const hasDissector = computed(() => health.value.value?.dissects === true);

/** The packet taken apart. */
export const dissection = keep<DissectionAnswer>(() => {
  const { packet: cursor } = looked.value;
  if (cursor === null || !hasDissector.value) return null;
  return joined("packets/dissection", asked.value, search(), `cursor=${encodeURIComponent(cursor)}`);
}, () => 0);

/** Values of labels and other properties. */
export const values = keep<PropertyList>(
  () => (looked.value.tab === "labels" ? joined("values", asked.value, search(), `limit=${VALUES}`) : null), () => 0);

/** Traffic over time in parts, where it is split, or sent again. */
export const split = keep<SplitSeries>(() => {
  const { split: by, unit } = looked.value;
  if (by === "none" && unit !== "retransmissions") return null;
  return joined("series", asked.value, search(), `by=${by === "none" ? "application" : by}`, `parts=${PARTS}`, `buckets=${BUCKETS}`);
}, () => ticks.value);

/** What is asked for of one host: its packets within what is looked at. */
const ofHost = (path: string, ...parts: string[]): string | null => {
  const { host, filter } = looked.value;
  if (host === null) return null;
  const parameters = new URLSearchParams(asked.value);
  parameters.set("filter", filter.trim() === "" ? `host ${host}` : `(${filter.trim()}) and host ${host}`);
  return joined(path, parameters.toString(), search(), ...parts);
};
export const hostSummary = keep<Summary>(() => ofHost("summary", "buckets=120", `top=${TOP}`, `edges=${TOP}`), () => 0);
export const hostValues = keep<PropertyList>(() => ofHost("values", "limit=6"), () => 0);

/** Everything that is kept, in one figure: asked for once, where the page has opened on nothing. */
const opened = signal<"unknown" | "data" | "nothing">("unknown");
/** True where nothing is stored: then there is only what to run to be told. */
export const isNothingStored = computed(() => opened.value === "nothing");
effect(() => {
  const { value, problem } = summary.value;
  if (value === null || problem !== null || opened.peek() !== "unknown") return;
  if (value.totals.packets > 0) {
    opened.value = "data";
    return;
  }
  opened.value = "data";
  get<Summary>(`${BASE}/summary?buckets=1&top=1&edges=1`).then((all) => {
    if (all.totals.packets === 0) opened.value = "nothing";
    if (all.totals.packets === 0 || !isUnasked || looked.peek().from !== "1h ago" || looked.peek().to !== null || all.from === null || all.to === null) return;
    const [begin, end] = [Date.parse(all.from), Date.parse(all.to)];
    turn({ from: new Date(Math.max(begin, end - OPENED_MS)).toISOString(), to: new Date(Math.ceil(end / 1000) * 1000).toISOString() });
  }).catch(() => undefined);
});
// Until something comes.
effect(() => {
  const packets = summary.value.value?.totals.packets ?? 0;
  if (packets > 0 && opened.peek() === "nothing") opened.value = "data";
});

const holdTicks = signal(0);

/** What is held for cases; asked for once, and after each hold. */
export const holds = keep<HoldList>(() => `${BASE}/holds`, () => holdTicks.value);

/** Whether the token may hold packets: only administrators' may. */
export const mayHold = computed(() => holds.value.value !== null);

/** Ends a hold: its packets may expire. What came of it, in words. */
export async function release(name: string): Promise<string | null> {
  try {
    const response = await fetch(`${BASE}/holds/${encodeURIComponent(name)}`, { method: "DELETE" });
    holdTicks.value += 1;
    if (response.ok) return null;
    const answer = await response.json().catch(() => null) as Problem | null;
    return answer?.detail ?? response.statusText;
  } catch {
    return "The service does not answer";
  }
}

/** Holds the range that is shown, with its filter; what came of it, in words. */
export async function hold(name: string, note: string): Promise<{ text: string; bad: boolean }> {
  const shown = summary.value.value;
  const { filter, view, untagged } = looked.value;
  const range = { from: shown?.from, to: shown?.to };
  const some = filter.trim() === "" ? {} : { filter: filter.trim(), view, ignore_vlan: untagged };
  const body = JSON.stringify({ case: name, note, ...range, ...some });
  try {
    const response = await fetch(`${BASE}/holds`, { method: "POST", headers: { "content-type": "application/json" }, body });
    const answer = await response.json().catch(() => null) as Record<string, unknown> | null;
    holdTicks.value += 1;
    if (!response.ok) return { text: String(answer?.["detail"] ?? response.statusText), bad: true };
    const { segments, packets, expired } = answer as { segments: number; packets: number; expired: string[] };
    const gone = expired.length > 0 ? `; ${expired.length} segments had expired` : "";
    return { text: segments > 0 ? `${name}: ${segments} segments are held${gone}` : `${name}: ${packets} packets are held`, bad: false };
  } catch {
    return { text: "The service does not answer", bad: true };
  }
}

export const status = keep<Record<string, unknown>>(() => `${BASE}/status`, () => statusTicks.value);

export const flow = keep<Conversation>(
  () => (looked.value.flow === null ? null : `${BASE}/flows/${encodeURIComponent(looked.value.flow)}`), () => 0);

export const followed = signal(false);
export const stream = keep<Stream>(() => {
  const id = looked.value.flow;
  if (id === null || !followed.value) return null;
  return `${BASE}/flows/${encodeURIComponent(id)}/stream?max_bytes=${STREAM_BYTES_MAX}`;
}, () => 0);

/** What would be wrong with a filter, as the service says it; null: nothing. */
export async function checkFilter(filter: string, abort: AbortSignal): Promise<Problem | null> {
  if (filter.trim() === "") return null;
  try {
    await get(`${BASE}/filter?filter=${encodeURIComponent(filter)}`, abort);
    return null;
  } catch (error) {
    if (error instanceof Refused && error.problem.status === 400) return error.problem;
    return null;
  }
}

/** What an alert of another tool is about, or what is wrong with it in words. */
export async function readAlert(event: string, window: string, tz: string): Promise<{ read: AlertSelection | null; problem: string | null }> {
  try {
    const body = JSON.stringify({ event, window, tz });
    const response = await fetch(`${BASE}/events/selection`, { method: "POST", headers: { "content-type": "application/json" }, body });
    const answer = await response.json().catch(() => null) as (AlertSelection & Problem) | null;
    if (response.ok && answer !== null) return { read: answer, problem: null };
    if (response.status === 401) isAskedForToken.value = true;
    return { read: null, problem: answer?.message ?? answer?.detail ?? response.statusText };
  } catch {
    return { read: null, problem: "The service does not answer" };
  }
}

/** What there is of a list within what is looked at: of addresses each one's hits, of ports the packets of all. */
export async function hitsOf(kind: "hosts" | "ports", list: string): Promise<{ list: HitList | null; problem: string | null }> {
  const parameters: Record<string, string | boolean> = Object.fromEntries(new URLSearchParams(asked.value));
  const text = looked.value.search.trim();
  const search = text === "" ? {} : { query: text };
  // A list does not know VLAN tags.
  const body = JSON.stringify({ ...parameters, ...search, ignore_vlan: true, [kind]: list });
  try {
    const path = kind === "hosts" ? "packets/hits" : "packets/count";
    const response = await fetch(`${BASE}/${path}`, { method: "POST", headers: { "content-type": "application/json", accept: "application/json" }, body });
    const answer = await response.json().catch(() => null) as (Partial<HitList> & Problem) | null;
    if (response.status === 401) isAskedForToken.value = true;
    if (!response.ok || answer === null) return { list: null, problem: answer?.detail ?? response.statusText };
    const { hits = [], uncounted = 0, packets = 0, bytes = 0 } = answer;
    return { list: { hits, uncounted, packets, bytes }, problem: null };
  } catch {
    return { list: null, problem: "The service does not answer" };
  }
}

export type Form = "pcap" | "pcapng";

/** Where the packets of what is looked at are: of the same range, filter and search as everything that is shown. */
export const packetsAddress = (form: Form): string => joined("packets", asked.value, search(), `format=${form}`);

/** Where the manifest of a download is. */
export const manifestAddress = (name: string): string => `${BASE}/manifests/${name}`;

export interface Manifest { file: string; sha256: string; bytes: number; is_complete: boolean }

/** The manifest of a download that was begun with this name, once all of it has been sent. */
export async function manifestOf(name: string): Promise<{ manifest: Manifest | null; isSigned: boolean; problem: string | null }> {
  for (;;) {
    try {
      const response = await fetch(manifestAddress(name), { headers: { accept: "application/json" } });
      if (response.ok) return { manifest: await response.json() as Manifest, isSigned: response.headers.get("netrewind-signed") === "true", problem: null };
      const answer = await response.json().catch(() => null) as (Problem & { pending?: boolean }) | null;
      if (answer?.pending !== true) return { manifest: null, isSigned: false, problem: answer?.detail ?? response.statusText };
    } catch {
      return { manifest: null, isSigned: false, problem: "The service does not answer" };
    }
  }
}

/** Where the packets of a conversation are, which no filter could tell from those of every other. */
export const flowAddress = (id: string, form: Form): string =>
  joined(`flows/${encodeURIComponent(id)}/packets`, `format=${form}`);

/** Field that a problem is about; null: none of the page's. */
export function fieldOf(problem: Problem): "range" | "filter" | "search" | null {
  if (["from", "to", "around", "window", "tz"].includes(problem.parameter ?? "")) return "range";
  if (["query", "community_id"].includes(problem.parameter ?? "")) return "search";
  if (problem.parameter === "filter" || problem.type.endsWith("/bad-filter")) return "filter";
  return null;
}

/** What went wrong with what is looked at: told once, at its field or above everything. */
export const trouble = computed<Problem | null>(() => {
  const all = [summary, flows, packetPage, values, split, largest].map((shown) => shown.value.problem);
  return all.find((problem) => problem !== null && problem.status !== FORBIDDEN && problem.status !== 401) ?? null;
});
