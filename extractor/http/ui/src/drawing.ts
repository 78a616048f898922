// The map of the world. A part of its own, since the library is larger than the rest of the page.

import { LinesChart, ScatterChart } from "echarts/charts";
import { GeoComponent, TooltipComponent } from "echarts/components";
import { init, registerMap, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import world from "world-atlas/countries-110m.json";
import * as format from "./format";
import { volumes } from "./network";
import type { Summary } from "./types";

use([LinesChart, ScatterChart, GeoComponent, TooltipComponent, CanvasRenderer]);

const NODE_MIN = 8;
const NODE_MORE = 34;
const LINE_MIN = 1;
const LINE_MORE = 9;
/** Degrees that lie together, without Antarctica: to the west and north, to the east and south. */
const WORLD_WEST_NORTH = [-170, 80];
const WORLD_EAST_SOUTH = [190, -56];
const ANTARCTICA = "010";
const HALF_ROUND = 180;

let hasWorld = false;
function registerWorld(): void {
  if (hasWorld) return;
  const topology = world as unknown as Topology<{ countries: GeometryCollection }>;
  const { features } = feature(topology, topology.objects.countries);
  const shown = features.filter(({ id }) => id !== ANTARCTICA);
  for (const { geometry } of shown) {
    if (geometry.type === "Polygon") geometry.coordinates.forEach(unroll);
    if (geometry.type === "MultiPolygon") geometry.coordinates.flat().forEach(unroll);
  }
  registerMap("world", { type: "FeatureCollection", features: shown } as never);
  hasWorld = true;
}

/** Coasts go on beyond the line where the date changes, instead of back around the world. */
function unroll(ring: number[][]): void {
  const longitudes = ring.map(([longitude = 0]) => longitude);
  if (Math.max(...longitudes) - Math.min(...longitudes) < HALF_ROUND) return;
  for (const position of ring) {
    if (position[0] !== undefined && position[0] < 0) position[0] += 2 * HALF_ROUND;
  }
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A drawing on an element. A click on a host gives its filter to `narrow`. */
export function draw(element: HTMLElement, dark: boolean, narrow: (demand: string) => void) {
  const chart = init(element, dark ? "dark" : null);
  chart.on("click", (event) => {
    const { address, pair } = (event.data ?? {}) as { address?: string; pair?: [string, string] };
    if (address !== undefined) narrow(`host ${address}`);
    if (pair !== undefined) narrow(`(host ${pair[0]} and host ${pair[1]})`);
  });
  let before = "";
  return {
    resize: () => chart.resize(),
    dispose: () => chart.dispose(),
    show(summary: Summary) {
      // A picture that moved at every refresh could not be clicked.
      const hosts = JSON.stringify([summary.places, summary.edges.map((edge) => [edge.a, edge.b])]);
      if (hosts !== before) chart.setOption(map(summary) as never, true);
      before = hosts;
    },
  };
}

const share = (value: number, most: number): number => Math.sqrt(value / Math.max(most, 1));

// Rich text: a strict content policy lets no HTML with styles be put in.
const tooltip = { renderMode: "richText", confine: true, backgroundColor: undefined as string | undefined };

function map(summary: Summary) {
  registerWorld();
  const of = volumes(summary.edges);
  const most = Math.max(...of.values());
  const places = summary.places ?? {};
  const at = (address: string): [number, number] | null => {
    const place = places[address];
    if (place?.longitude === undefined || place.latitude === undefined) return null;
    // What lies beyond the western edge is drawn beyond the eastern one, as its coast is.
    const isBeyond = place.longitude < (WORLD_WEST_NORTH[0] ?? -HALF_ROUND);
    return [place.longitude + (isBeyond ? 2 * HALF_ROUND : 0), place.latitude];
  };
  return {
    backgroundColor: "transparent",
    tooltip: { ...tooltip, formatter: ({ data }: { data: { words?: string } }) => data?.words ?? "" },
    geo: {
      map: "world", roam: true, silent: true, aspectScale: 1, boundingCoords: [WORLD_WEST_NORTH, WORLD_EAST_SOUTH],
      left: 0, right: 0, top: 0, bottom: 0,
      itemStyle: { areaColor: colour("--map"), borderColor: colour("--card") },
    },
    series: [
      { type: "lines", coordinateSystem: "geo", lineStyle: { color: colour("--accent"), opacity: 0.5, curveness: 0.2 },
        data: summary.edges.flatMap(({ a, b, bytes }) => {
          const [from, to] = [at(a), at(b)];
          if (from === null || to === null) return [];
          return [{ coords: [from, to], pair: [a, b], words: `${a} – ${b}: ${format.bytes(bytes)}`, lineStyle: { width: LINE_MIN + LINE_MORE / 2 * share(bytes, most) } }];
        }) },
      { type: "scatter", coordinateSystem: "geo", itemStyle: { color: colour("--accent") },
        data: [...of].flatMap(([address, bytes]) => {
          const value = at(address);
          return value === null ? [] : [{ name: address, address, value, symbolSize: NODE_MIN + NODE_MORE / 2 * share(bytes, most), words: `${address} (${format.place(places[address])}): ${format.bytes(bytes)}` }];
        }) },
    ],
  };
}
