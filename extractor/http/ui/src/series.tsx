// Bits, packets and drops over time. Dragging across it sets the range of everything on the page.

import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { summary } from "./api";
import * as format from "./format";
import { isDark, look } from "./state";
import { rangeWords } from "./toolbar";
import type { Hint, Summary } from "./types";

const HEIGHT = 220;
const COLUMNS_MIN = 2;
/** Between times on the axis: what a clock shows. */
const TICK_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];
const SECONDS_A_MINUTE = 60;
const SECONDS_A_DAY = 86400;

export function Series() {
  const { value, problem, busy } = summary.value;
  const unit = useSignal<"bits" | "packets">("bits");
  return (
    <section class="card series" aria-busy={busy}>
      <h2>Traffic <small>{rangeWords()}</small>
        <span class="choice" role="group" aria-label="Unit">
          <button type="button" aria-pressed={unit.value === "bits"} onClick={() => { unit.value = "bits"; }}>bits/s</button>
          <button type="button" aria-pressed={unit.value === "packets"} onClick={() => { unit.value = "packets"; }}>packets/s</button>
        </span>
        {value !== null && <Totals summary={value} />}
      </h2>
      {problem !== null && <p class="problem" role="alert">{problem.detail ?? problem.title}</p>}
      {value !== null && <Plot summary={value} unit={unit.value} dark={isDark.value} />}
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

function Plot({ summary: shown, unit, dark }: { summary: Summary; unit: "bits" | "packets"; dark: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const latest = useRef(shown);
  latest.current = shown;
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new UPlot(options(element.clientWidth, unit, latest), columns(shown, unit), element);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
    };
  }, [unit, dark]);
  useEffect(() => plot.current?.setData(columns(shown, unit)), [shown, unit]);
  return <div ref={place} class="plot" role="img" aria-label={`${unit} per second over time; drag to zoom`} />;
}

/** What a bucket holds, a second: from its begin to the next one's. */
function columns({ series, bucket_seconds }: Summary, unit: "bits" | "packets"): UPlot.AlignedData {
  const width = bucket_seconds || 1;
  const at = series.map((point) => Date.parse(point.at) / 1000);
  const much = series.map((point) => (unit === "bits" ? point.bytes * 8 : point.packets) / width);
  const dropped = series.map((point) => (point.dropped > 0 ? point.dropped / width : null));
  // A step is as long as its bucket, the last one too.
  const [end, last] = [at.at(-1), much.at(-1)];
  return end === undefined || last === undefined ? [at, much, dropped] : [[...at, end + width], [...much, last], [...dropped, null]];
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(width: number, unit: "bits" | "packets", latest: { current: Summary }): UPlot.Options {
  const axis = { stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const shownAs = unit === "bits" ? format.bits : format.rate;
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { x: true, y: false, setScale: false } },
    legend: { live: true },
    scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1] }, drops: { range: (_plot, _low, high) => [0, high > 0 ? high * 6 : 1] } },
    axes: [{ ...axis, space: 90, incrs: TICK_SECONDS, values: times }, { ...axis, size: 88, values: (_plot, ticks) => ticks.map((tick) => format.tick(tick, shownAs)) }],
    series: [
      { value: (_plot, at) => (at === null ? "" : format.dayTime(at * 1000)) },
      { label: unit === "bits" ? "bits/s" : "packets/s", stroke: colour("--accent"), fill: colour("--accent-soft"), width: 1.5, points: { show: false },
        ...(UPlot.paths.stepped === undefined ? {} : { paths: UPlot.paths.stepped({ align: 1 }) }),
        value: (_plot, value) => (value === null ? "" : shownAs(value)) },
      { label: "dropped", scale: "drops", stroke: colour("--bad"), fill: colour("--bad"), points: { show: false },
        ...(UPlot.paths.bars === undefined ? {} : { paths: UPlot.paths.bars({ size: [1, 8] }) }),
        value: (_plot, value) => (value === null ? "0" : format.rate(value)) },
    ],
    hooks: {
      drawClear: [(plot) => shadeGaps(plot, latest.current)],
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
