// Bits, packets and drops over time. Dragging across it sets the range of everything on the page.

import { useEffect, useRef } from "preact/hooks";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { split, summary } from "./api";
import * as format from "./format";
import { rangeWords } from "./range";
import { isDark, look, looked, type Split, type Unit } from "./state";
import type { Hint, SeriesPart, SplitSeries, Summary } from "./types";

const HEIGHT = 220;
const COLUMNS_MIN = 2;
/** Between times on the axis: what a clock shows. */
const TICK_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];
const SECONDS_A_MINUTE = 60;
const SECONDS_A_DAY = 86400;

const UNITS: readonly [Unit, string][] = [["bits", "bits/s"], ["packets", "packets/s"], ["retransmissions", "retransmissions/s"]];
const SPLITS: readonly [Split, string][] = [["none", "Total"], ["application", "By application"], ["host", "By host"]];
/** Colours of parts, from the largest; the last is that of all others. */
const PART_COLOURS = 8;

export function Series() {
  const { value, problem, busy } = summary.value;
  const { unit, split: by } = looked.value;
  const parts = by === "none" && unit !== "retransmissions" ? null : split.value;
  const isOld = (parts ?? summary.value).problem !== null;
  return (
    <section class={isOld ? "card series old" : "card series"} aria-busy={busy || parts?.busy === true}>
      <h2>Traffic <small>{rangeWords()}</small>
        <span class="choice" role="group" aria-label="Unit">
          {UNITS.map(([name, words]) => <button type="button" key={name} aria-pressed={unit === name} onClick={() => look({ unit: name })}>{words}</button>)}
        </span>
        <span class="choice" role="group" aria-label="Split">
          {SPLITS.map(([name, words]) => <button type="button" key={name} aria-pressed={by === name} onClick={() => look({ split: name })}>{words}</button>)}
        </span>
        {value !== null && <Totals summary={value} />}
      </h2>
      {value !== null && parts === null && <Plot drawing={{ kind: "whole", summary: value }} unit={unit} dark={isDark.value} />}
      {value !== null && parts?.value != null && <Plot drawing={{ kind: "parts", summary: value, split: parts.value, by }} unit={unit} dark={isDark.value} />}
      {value !== null && value.totals.packets === 0 && problem === null && <Nothing summary={value} />}
    </section>
  );
}

/** No packet; and how to look so that there are some, where that is known. */
function Nothing({ summary: { hint } }: { summary: Summary }) {
  const follow = ({ view, ignore_vlan: untagged }: Hint) => look({ ...(view === undefined ? {} : { view }), ...(untagged ? { untagged } : {}) });
  return (
    <p class="empty">No packets in this range.
      {hint != null && <span class="hint" role="status"> {elsewhere(hint)} <button type="button" onClick={() => follow(hint)}>Show them</button></span>}
    </p>
  );
}

function elsewhere({ view, certain }: Hint): string {
  const there = { inner: "With the inner packet of tunnels", outer: "With packets as received", any: "With either packet of tunnels" };
  return `${view === undefined ? "Ignoring VLAN tags" : there[view]}, there ${certain ? "would be" : "may be"} some.`;
}

function Totals({ summary: { totals, gaps, series } }: { summary: Summary }) {
  const dropped = series.reduce((sum, point) => sum + point.dropped, 0);
  return (
    <span class="totals">
      <b>{format.bytes(totals.bytes)}</b> <b>{format.count(totals.packets)}</b> packets <b>{format.count(totals.conversations)}</b> conversations
      {dropped > 0 && <em class="bad"> {format.count(dropped)} dropped</em>}
      {gaps.length > 0 && <em class="bad" title={gaps.map((gap) => `Nothing was recorded from ${format.dayTime(gap.from)} to ${format.dayTime(gap.to)}`).join("\n")}> {gaps.length} {gaps.length === 1 ? "gap" : "gaps"}</em>}
    </span>
  );
}

/** What is drawn: the whole, or parts one upon the other. */
type Drawn = { kind: "whole"; summary: Summary } | { kind: "parts"; summary: Summary; split: SplitSeries; by: Split };

function Plot({ drawing, unit, dark }: { drawing: Drawn; unit: Unit; dark: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const latest = useRef(drawing);
  latest.current = drawing;
  const lines = linesOf(drawing);
  const names = lines.map((line) => line.name).join("\n");
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new UPlot(options(element.clientWidth, unit, linesOf(latest.current), latest), columns(latest.current, unit), element);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
    };
  }, [unit, dark, names]);
  useEffect(() => plot.current?.setData(columns(drawing, unit)), [drawing.summary, drawing.kind === "parts" ? drawing.split : null, unit]);
  return <div ref={place} class="plot" role="img" aria-label={`${unit} per second over time; drag to zoom`} />;
}

interface Line { name: string; part: SeriesPart | null; colour: string }

/** What is drawn, from the highest line to the lowest: each covers what is above it. */
function linesOf(drawing: Drawn): Line[] {
  if (drawing.kind === "whole") return [{ name: "", part: null, colour: "--accent" }];
  const { split: { parts, others }, by } = drawing;
  if (by === "none") return [{ name: "all", part: total(drawing.split), colour: "--accent" }];
  const own = parts.map((part, index) => ({ name: part.name, part, colour: `--part-${index % PART_COLOURS}` }));
  return [...own, { name: "others", part: others, colour: "--part-others" }];
}

function total({ parts, others }: SplitSeries): SeriesPart {
  const sum = (of: (part: SeriesPart) => number[]) => of(others).map((value, at) => parts.reduce((all, part) => all + (of(part)[at] ?? 0), value));
  return { name: "all", packets: sum((part) => part.packets), bytes: sum((part) => part.bytes), retransmissions: sum((part) => part.retransmissions) };
}

const amounts = (part: SeriesPart, unit: Unit): number[] =>
  (unit === "bits" ? part.bytes.map((bytes) => bytes * 8) : unit === "packets" ? part.packets : part.retransmissions);

/** What a bucket holds, a second: from its begin to the next one's. Parts stand one upon the other. */
function columns(drawing: Drawn, unit: Unit): UPlot.AlignedData {
  const { series } = drawing.summary;
  const width = (drawing.kind === "whole" ? drawing.summary : drawing.split).bucket_seconds || 1;
  const starts = drawing.kind === "whole" ? series.map((point) => point.at) : drawing.split.at;
  const at = starts.map((start) => Date.parse(start) / 1000);
  const drops = new Map(series.map((point) => [Date.parse(point.at) / 1000, point.dropped / (drawing.summary.bucket_seconds || 1)]));
  const dropped = at.map((start) => drops.get(start) || null);
  let below = at.map(() => 0);
  const stacks = [...linesOf(drawing)].reverse().map(({ part }) => {
    const own = part === null ? series.map((point) => (unit === "bits" ? point.bytes * 8 : point.packets)) : amounts(part, unit);
    below = below.map((sum, index) => sum + (own[index] ?? 0) / width);
    return below;
  }).reverse();
  // A step is as long as its bucket, the last one too.
  const end = at.at(-1);
  if (end === undefined) return [at, ...stacks, dropped];
  return [[...at, end + width], ...stacks.map((stack) => [...stack, stack.at(-1) ?? 0]), [...dropped, null]];
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(width: number, unit: Unit, lines: Line[], latest: { current: Drawn }): UPlot.Options {
  const axis = { stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const shownAs = unit === "bits" ? format.bits : format.rate;
  const stepped = UPlot.paths.stepped === undefined ? {} : { paths: UPlot.paths.stepped({ align: 1 }) };
  const isWhole = lines.length === 1;
  /** A line's own amount, without those below it. */
  const own = (plot: UPlot, line: number, index: number | null): string => {
    if (index === null) return "";
    const [high, low] = [plot.data[line]?.[index], line < lines.length ? plot.data[line + 1]?.[index] : 0];
    return high == null ? "" : shownAs(high - (low ?? 0));
  };
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { x: true, y: false, setScale: false } },
    legend: { live: true },
    scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1] }, drops: { range: (_plot, _low, high) => [0, high > 0 ? high * 6 : 1] } },
    axes: [{ ...axis, space: 90, incrs: TICK_SECONDS, values: times }, { ...axis, size: 88, values: (_plot, ticks) => ticks.map((tick) => format.tick(tick, shownAs)) }],
    series: [
      { label: "Time", value: (_plot, at) => (at === null ? "" : format.dayTime(at * 1000)) },
      ...lines.map(({ name, colour: of }): UPlot.Series => ({
        label: isWhole ? UNITS.find(([known]) => known === unit)?.[1] ?? unit : name, stroke: colour(of), fill: isWhole ? colour("--accent-soft") : colour(of), width: isWhole ? 1.5 : 0.5,
        points: { show: false }, ...stepped, value: (plot, _value, line, index) => own(plot, line, index),
      })),
      { label: "dropped", scale: "drops", stroke: colour("--bad"), fill: colour("--bad"), points: { show: false },
        ...(UPlot.paths.bars === undefined ? {} : { paths: UPlot.paths.bars({ size: [1, 8] }) }),
        value: (_plot, value) => (value === null ? "0" : format.rate(value)) },
    ],
    hooks: {
      drawClear: [(plot) => shadeGaps(plot, latest.current.summary)],
      setSelect: [(plot) => zoom(plot)],
    },
  };
}

/** Twenty-four hours, with the day where it begins to be another. */
function times(_plot: UPlot, ticks: number[], _axis: number, _space: number, step: number): string[] {
  let day = "";
  return ticks.map((tick) => {
    const [date = "", time = ""] = format.dayTime(tick * 1000).split(" ");
    const shown = step >= SECONDS_A_DAY ? "" : step >= SECONDS_A_MINUTE ? time.slice(0, 5) : time;
    const words = date === day ? shown : `${shown}\n${date}`.trimStart();
    day = date;
    return words;
  });
}

/** Where nothing was recorded, nothing is known: that looks unlike a line at zero. */
function shadeGaps(plot: UPlot, { gaps }: Summary): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colour("--gap");
  for (const gap of gaps) {
    const from = Math.max(plot.valToPos(Date.parse(gap.from) / 1000, "x", true), bbox.left);
    const to = Math.min(plot.valToPos(Date.parse(gap.to) / 1000, "x", true), bbox.left + bbox.width);
    if (to > from) ctx.fillRect(from, bbox.top, Math.max(to - from, COLUMNS_MIN), bbox.height);
  }
  ctx.restore();
}

function zoom(plot: UPlot): void {
  const { left, width } = plot.select;
  if (width < COLUMNS_MIN) return;
  const at = (position: number) => new Date(plot.posToVal(position, "x") * 1000).toISOString();
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  look({ from: at(left), to: at(left + width) });
}
