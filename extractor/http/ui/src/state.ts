// What is looked at. The address bar holds all of it, so that a link shows another person the same.

import { computed, effect, signal } from "@preact/signals";

export type View = "inner" | "outer" | "any";
export type Sort = "bytes" | "packets" | "start" | "duration";
export type Tab = "flows" | "packets" | "labels" | "hits";
export type Unit = "bits" | "packets" | "retransmissions";
export type Ends = "hosts" | "services";
export type Split = "none" | "application" | "host";

export interface Looked {
  /** Any time that the service reads, also "1h ago"; null: the oldest packet kept. */
  from: string | null;
  /** null: now, and the page follows. */
  to: string | null;
  filter: string;
  search: string;
  view: View;
  /** As if packets had no VLAN tags. */
  untagged: boolean;
  sort: Sort;
  /** The opposite order. */
  reverse: boolean;
  /** List at the foot of the page. */
  tab: Tab;
  /** Where the page of flows begins. */
  cursor: string | null;
  /** Where the page of packets begins. */
  at: string | null;
  /** The flow whose panel is open. */
  flow: string | null;
  /** The packet whose panel is open, by its cursor. */
  packet: string | null;
  /** The host whose panel is open. */
  host: string | null;
  unit: Unit;
  split: Split;
  picture: "graph" | "map";
  /** What hosts talk to in the graph. */
  ends: Ends;
  beside: "matrix" | "sankey";
}

const DEFAULT: Looked = {
  from: "1h ago", to: null, filter: "", search: "", view: "inner", untagged: false, sort: "bytes", reverse: false, tab: "flows",
  cursor: null, at: null, flow: null, packet: null, host: null, unit: "bits", split: "none", picture: "graph", ends: "hosts", beside: "matrix",
};
const EVERYTHING = "all";

function read(address: string): Looked {
  const parameters = new URLSearchParams(address);
  const choice = <T extends string>(name: string, known: readonly T[], otherwise: T): T =>
    known.find((one) => one === parameters.get(name)) ?? otherwise;
  const from = parameters.get("from");
  return {
    from: from === null ? DEFAULT.from : from === EVERYTHING ? null : from,
    to: parameters.get("to"),
    filter: parameters.get("filter") ?? "",
    search: parameters.get("search") ?? "",
    view: choice("view", ["inner", "outer", "any"] as const, "inner"),
    untagged: parameters.get("untagged") === "true",
    sort: choice("sort", ["bytes", "packets", "start", "duration"] as const, "bytes"),
    reverse: parameters.get("reverse") === "true",
    tab: choice("tab", ["flows", "packets", "labels", "hits"] as const, "flows"),
    cursor: parameters.get("cursor"),
    at: parameters.get("at"),
    flow: parameters.get("flow"),
    packet: parameters.get("packet"),
    host: parameters.get("host"),
    unit: choice("unit", ["bits", "packets", "retransmissions"] as const, "bits"),
    split: choice("split", ["none", "application", "host"] as const, "none"),
    picture: choice("picture", ["graph", "map"] as const, "graph"),
    ends: choice("ends", ["hosts", "services"] as const, "hosts"),
    beside: choice("beside", ["matrix", "sankey"] as const, "matrix"),
  };
}

function written(looked: Looked): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(looked)) {
    if (value === DEFAULT[name as keyof Looked] || value === "") continue;
    const plain = name === "from" && value === null ? EVERYTHING : value;
    if (plain !== null) parameters.set(name, String(plain));
  }
  const text = parameters.toString();
  return text === "" ? location.pathname : `?${text}`;
}

export const looked = signal<Looked>(read(location.search));

/** What another page of a list depends on. */
const LISTED_BY = ["from", "to", "filter", "search", "view", "untagged"] as const;

function after(change: Partial<Looked>): Looked {
  const elsewhere = LISTED_BY.some((name) => name in change);
  const resorted = elsewhere || "sort" in change || "reverse" in change;
  return { ...looked.value, ...(resorted ? { cursor: null } : {}), ...(elsewhere ? { at: null, packet: null } : {}), ...change };
}

/** Looks at something else, and remembers where one was for the browser's way back. */
export function look(change: Partial<Looked>): void {
  const next = after(change);
  if (written(next) === written(looked.value)) return;
  history.pushState(null, "", written(next));
  looked.value = next;
}

/** Looks at something else without a step of the way back. */
export function turn(change: Partial<Looked>): void {
  const next = after(change);
  if (written(next) === written(looked.value)) return;
  history.replaceState(null, "", written(next));
  looked.value = next;
}

/** Closes whatever panel is open. */
export const close = (): void => turn({ flow: null, packet: null, host: null });

/** The address that shows what is looked at. */
export const shownAt = computed(() => written(looked.value));

/** Whoever came without a range is shown the data that there is. */
export const isUnasked = !["from", "to"].some((name) => new URLSearchParams(location.search).has(name));

addEventListener("popstate", () => {
  looked.value = read(location.search);
});

/** The filter with one more demand. */
export function narrow(demand: string): void {
  const { filter } = looked.value;
  if (filter.includes(demand)) return;
  look({ filter: filter.trim() === "" ? demand : `(${filter.trim()}) and ${demand}` });
}

/** The search with one more demand. */
export function seek(demand: string): void {
  const { search } = looked.value;
  if (search.includes(demand)) return;
  look({ search: search.trim() === "" ? demand : `(${search.trim()}) AND ${demand}` });
}

/** The search with one thing ruled out. */
export function rule(out: string): void {
  const { search } = looked.value;
  const demand = `NOT ${out}`;
  if (search.includes(demand)) return;
  look({ search: search.trim() === "" ? demand : `(${search.trim()}) AND ${demand}` });
}

/** Whether the page asks again by itself, while its end moves on with the clock. */
const REFRESHES = "netrewind.refresh";
export const refreshes = signal(localStorage.getItem(REFRESHES) !== "off");
effect(() => localStorage.setItem(REFRESHES, refreshes.value ? "on" : "off"));

/** Time zone of whoever looks: times are shown in it, and typed ones are meant in it. */
export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** Whether the end moves on with the clock. */
export const isLive = computed(() => looked.value.to === null);

const HOUR_MS = 3_600_000;
/** Relative ranges of so many hours and more begin at a full hour: what whole hours add up to is known, and shown at once. */
const FULL_HOURS_FROM = 6;
/** What is longer ago than a century is left to the service. */
const FULL_HOURS_TO = 876_000;
const hour = signal(Math.floor(Date.now() / HOUR_MS));
setInterval(() => { hour.value = Math.floor(Date.now() / HOUR_MS); }, 1000);

function begin(from: string): string {
  const ago = /^(\d+) ?(h|d) ago$/.exec(from);
  const hours = ago === null ? 0 : Number(ago[1]) * (ago[2] === "d" ? 24 : 1);
  if (hours < FULL_HOURS_FROM || hours > FULL_HOURS_TO) return from;
  return new Date((hour.value - hours) * HOUR_MS).toISOString();
}

/** A time without a zone of its own means one in ours. */
const isInWords = (time: string | null): boolean => time !== null && !/(Z|[+-]\d\d:?\d\d|ago)$/i.test(time.trim());

/** What the parameters of a request have in common. */
export const asked = computed(() => {
  const { from, to, filter, view, untagged } = looked.value;
  const parameters = new URLSearchParams();
  if (from !== null) parameters.set("from", begin(from));
  if (to !== null) parameters.set("to", to);
  if (filter.trim() !== "") parameters.set("filter", filter.trim());
  if (view !== "inner") parameters.set("view", view);
  if (untagged) parameters.set("ignore_vlan", "true");
  if (isInWords(from) || isInWords(to)) parameters.set("tz", zone);
  return parameters.toString();
});

export type Theme = "light" | "dark" | "system";
const THEME = "netrewind.theme";
export const theme = signal<Theme>((localStorage.getItem(THEME) as Theme | null) ?? "system");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(systemIsDark.matches);
systemIsDark.addEventListener("change", () => { systemDark.value = systemIsDark.matches; });
export const isDark = computed(() => (theme.value === "system" ? systemDark.value : theme.value === "dark"));
effect(() => {
  document.documentElement.dataset["theme"] = isDark.value ? "dark" : "light";
  localStorage.setItem(THEME, theme.value);
});
