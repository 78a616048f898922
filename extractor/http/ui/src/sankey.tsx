// Who asked whom for what: clients, services and servers in three columns, as wide as their traffic.

import * as format from "./format";
import { rove } from "./rove";
import type { Band, Services } from "./services";
import { narrow } from "./state";

const HEIGHT = 420;
const BAR_WIDTH = 12;
/** Room between two bars, and the least of a bar. */
const GAP = 5;
const BAR_MIN = 2;
/** Height from which a bar has its label beside it. */
const LABELLED_FROM = 9;
const LETTER_WIDTH = 6.4;
const LABEL_GAP = 5;
/** Shares of the room between two columns that the labels there take: those of services, those of servers. */
const SHARE_OF_SERVICE = 0.42;
const SHARE_OF_SERVER = 0.54;
const COLOURS = 8;
const ARRIVES = 0.5;

interface Bar { id: string; words: string; bytes: number; top: number; height: number; colour: string; demand: string | null }
interface Column { x: number; bars: Map<string, Bar> }

const shortened = (text: string, letters: number): string => (text.length <= letters ? text : `${text.slice(0, Math.max(letters - 1, 1))}…`);
const isHost = (id: string): boolean => id !== "other hosts";

/** Bars of a column, the largest above. */
function column(x: number, bands: readonly Band[], of: (band: Band) => string, height: number, about: (id: string, at: number) => Pick<Bar, "words" | "colour" | "demand">): Column {
  const sums = new Map<string, number>();
  for (const band of bands) sums.set(of(band), (sums.get(of(band)) ?? 0) + band.bytes);
  const sorted = [...sums].sort((one, other) => Number(one[0].startsWith("other ")) - Number(other[0].startsWith("other ")) || other[1] - one[1]);
  const all = Math.max(1, sorted.reduce((sum, [, bytes]) => sum + bytes, 0));
  const room = height - GAP * (sorted.length - 1) - BAR_MIN * sorted.length;
  const bars = new Map<string, Bar>();
  let top = 0;
  sorted.forEach(([id, bytes], at) => {
    const tall = BAR_MIN + room * bytes / all;
    bars.set(id, { id, bytes, top, height: tall, ...about(id, at) });
    top += tall + GAP;
  });
  return { x, bars };
}

/** A band from a bar to another, each beginning below the one before. */
function ribbons(bands: readonly Band[], from: Column, to: Column, start: (band: Band) => string, end: (band: Band) => string, colour: (band: Band) => string) {
  const joined = new Map<string, Band>();
  for (const band of bands) {
    const key = `${start(band)}|${end(band)}`;
    const before = joined.get(key);
    joined.set(key, before === undefined ? band : { ...before, bytes: before.bytes + band.bytes, conversations: before.conversations + band.conversations });
  }
  const place = (bars: Map<string, Bar>, id: string) => bars.get(id)?.top ?? 0;
  const sorted = [...joined.values()].sort((one, other) =>
    place(from.bars, start(one)) - place(from.bars, start(other)) || place(to.bars, end(one)) - place(to.bars, end(other)));
  const [left, right] = [new Map<string, number>(), new Map<string, number>()];
  return sorted.map((band) => {
    const [one, other] = [from.bars.get(start(band)), to.bars.get(end(band))];
    if (one === undefined || other === undefined) return null;
    const [tall, deep] = [one.height * band.bytes / Math.max(one.bytes, 1), other.height * band.bytes / Math.max(other.bytes, 1)];
    const [y, z] = [one.top + (left.get(one.id) ?? 0), other.top + (right.get(other.id) ?? 0)];
    left.set(one.id, (left.get(one.id) ?? 0) + tall);
    right.set(other.id, (right.get(other.id) ?? 0) + deep);
    const [x, w] = [from.x + BAR_WIDTH, to.x];
    const middle = x + (w - x) * ARRIVES;
    const path = `M${x} ${y}C${middle} ${y} ${middle} ${z} ${w} ${z}V${z + deep}C${middle} ${z + deep} ${middle} ${y + tall} ${x} ${y + tall}Z`;
    return (
      <path key={`${one.id}|${other.id}`} d={path} fill={colour(band)}>
        <title>{`${one.words} – ${other.words}: ${format.bytes(band.bytes)}, ${format.count(band.conversations)} conversations`}</title>
      </path>
    );
  });
}

export function Sankey({ of: { services, bands }, width }: { of: Services; width: number }) {
  if (bands.length === 0) return <p class="empty">No conversations between hosts in this range.</p>;
  const between = (width - 3 * BAR_WIDTH) / 2;
  const sorted = [...services.values()].sort((one, other) => other.bytes - one.bytes).map((service) => service.id);
  const colour = (id: string) => (id.startsWith("other ") ? "var(--part-others)" : `var(--part-${sorted.indexOf(id) % COLOURS})`);
  const host = (id: string) => ({ words: id, colour: "var(--ink-soft)", demand: isHost(id) ? `host ${id}` : null });
  const clients = column(0, bands, (band) => band.client, HEIGHT, host);
  const middle = column(BAR_WIDTH + between, bands, (band) => band.service, HEIGHT, (id) => ({ words: services.get(id)?.words ?? id, colour: colour(id), demand: services.get(id)?.demand ?? null }));
  const servers = column(width - BAR_WIDTH, bands, (band) => band.server, HEIGHT, host);
  const columns = [
    { ...clients, kind: "Client", letters: (between - 2 * LABEL_GAP) / LETTER_WIDTH, isEnd: false },
    { ...middle, kind: "Service", letters: (between * SHARE_OF_SERVICE - LABEL_GAP) / LETTER_WIDTH, isEnd: false },
    { ...servers, kind: "Server", letters: (between * SHARE_OF_SERVER - LABEL_GAP) / LETTER_WIDTH, isEnd: true },
  ];
  return (
    <svg class="sankey" width={width} height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} role="group" aria-label="Clients, services and servers: arrow keys go from one to the next, Enter shows its traffic" onKeyDown={rove}>
      <g class="ribbons" aria-hidden="true">
        {ribbons(bands, clients, middle, (band) => band.client, (band) => band.service, (band) => colour(band.service))}
        {ribbons(bands, middle, servers, (band) => band.service, (band) => band.server, (band) => colour(band.service))}
      </g>
      {columns.map(({ kind, x, bars }, at) => [...bars.values()].map((bar, number) => (
        <g key={`${kind} ${bar.id}`} role="button" data-rove="" tabindex={at === 0 && number === 0 ? 0 : -1} aria-label={`${kind} ${bar.words}: ${format.bytes(bar.bytes)}`} onClick={() => { if (bar.demand !== null) narrow(bar.demand); }}>
          <title>{`${bar.words}: ${format.bytes(bar.bytes)}`}</title>
          <rect x={x} y={bar.top} width={BAR_WIDTH} height={bar.height} fill={bar.colour} />
        </g>
      )))}
      {/* Shortened words are no name of a button. */}
      <g aria-hidden="true">
        {columns.map(({ kind, x, bars, letters, isEnd }) => [...bars.values()].filter((bar) => bar.height >= LABELLED_FROM).map((bar) => (
          <text key={`${kind} ${bar.id}`} x={isEnd ? x - LABEL_GAP : x + BAR_WIDTH + LABEL_GAP} y={bar.top + bar.height / 2 + 4} text-anchor={isEnd ? "end" : "start"}>{shortened(bar.words, letters)}</text>
        )))}
      </g>
    </svg>
  );
}
