// Numbers and times as a person reads them.

import type { Place } from "./types";

const STEPS = ["", "k", "M", "G", "T", "P"];

function scaled(value: number, unit: string): string {
  let step = 0;
  while (Math.abs(value) >= 1000 && step < STEPS.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${STEPS[step]}${unit}`.trim();
}

export const bytes = (value: number): string => scaled(value, "B");
/** A figure of an axis, without the decimals that all of them share. */
export const tick = (value: number, shown: (value: number) => string): string => shown(value).replace(/\.0+(?= )/, "").replace(/(\.\d)0(?= )/, "$1");
export const bits = (value: number): string => scaled(value, "bit/s");
export const rate = (value: number): string => scaled(value, "/s");
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
