// Numbers and times as a person reads them.

import type { Place } from "./types";

const STEPS = ["", "k", "M", "G", "T", "P"];
const BINARY_STEPS = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];

function scaled(value: number, unit: string, by = 1000, steps = STEPS): string {
  let step = 0;
  while (Math.abs(value) >= by && step < steps.length - 1) {
    value /= by;
    step += 1;
  }
  const digits = step === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${steps[step]}${unit}`.trim();
}

/** In the units of the command line. */
export const bytes = (value: number): string => scaled(value, "B", 1024, BINARY_STEPS);
/** A figure of an axis, without the decimals that all of them share. */
export const tick = (value: number, shown: (value: number) => string): string => shown(value).replace(/\.0+(?= )/, "").replace(/(\.\d)0(?= )/, "$1");
export const bits = (value: number): string => scaled(value, "bit/s");
/** Few a second are told with their decimals. */
export const rate = (value: number): string => (value > 0 && value < 10 ? `${Number(value.toPrecision(2))} /s` : scaled(value, "/s"));
export const packets = (value: number): string => scaled(value, " packets/s").replace(/ +/g, " ");
export const count = (value: number): string => value.toLocaleString("en");

const TWO = (value: number): string => String(value).padStart(2, "0");

/** A day and a time of day in the zone of whoever looks. */
export function dayTime(at: string | number): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${TWO(date.getMonth() + 1)}-${TWO(date.getDate())} ${timeOfDay(date.getTime())}`;
}

export function timeOfDay(at: string | number): string {
  const date = new Date(at);
  return `${TWO(date.getHours())}:${TWO(date.getMinutes())}:${TWO(date.getSeconds())}`;
}

/** The difference to UTC, as "UTC+01:00". */
export function offset(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "−" : "+"}${TWO(Math.floor(size / 60))}:${TWO(size % 60)}`;
}

/** A time as a calendar's field holds it: without a zone, to the second. */
export const local = (at: string): string => dayTime(at).replace(" ", "T");

/** A time of an address as a person would type it; others as they are. */
export const typed = (at: string): string => (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(at) ? `${dayTime(at)}${/\.0*[1-9]/.test(at) ? `.${fraction(at).replace(/0+$/, "")}` : ""}` : at);

/** A typed time of day, or day and time, of our zone as an instant that means the same to everyone; other words as they are. */
export function absolute(typed: string): string {
  const [, day, time, part = ""] = /^(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?$/.exec(typed.trim()) ?? [];
  if (time === undefined) return typed.trim();
  const date = new Date(`${day ?? dayTime(Date.now()).slice(0, 10)}T${time}`);
  return Number.isNaN(date.getTime()) ? typed.trim() : date.toISOString().replace(".000Z", `${part}Z`);
}

/** The nine digits of a fraction of a second. */
export const nanoseconds = (at: string): string => (/\.(\d+)/.exec(at)?.[1] ?? "").padEnd(9, "0").slice(0, 9);

/** The fraction of a second of an RFC 3339 text, which `Date` would cut to milliseconds. */
export function fraction(at: string): string {
  return /\.(\d+)/.exec(at)?.[1]?.padEnd(9, "0").slice(0, 6) ?? "000000";
}

/** In two units at most, rounded to the lesser one before they are told apart: there is no "23 h 60 min". */
export function duration(seconds: number): string {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.5) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(seconds / 3600);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const milliseconds = (ns: number): string => `${(ns / 1e6).toFixed(ns < 1e7 ? 2 : 1)} ms`;

export const seconds = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1000;

/** A place as "Frankfurt, Germany"; empty where none is known. */
export const place = (one: Place | undefined): string => [one?.city, one?.country].filter(Boolean).join(", ");

export function endpoint(end: { address: string | null; port?: number | null }): string {
  if (end.address === null) return "–";
  if (end.port === undefined || end.port === null) return end.address;
  return end.address.includes(":") ? `[${end.address}]:${end.port}` : `${end.address}:${end.port}`;
}

/** Names as the field writes them: `http_host` is "HTTP host", `ja4` is "JA4". */
export function words(name: string): string {
  const text = name.replaceAll("_", " ").replace(/^(http|dns|tls|ssh|alpn|ja4s?|sni|quic|smtp|ntp|rtt)\b/, (known) => known.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A value as a search takes it. */
export const quoted = (value: string): string => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
