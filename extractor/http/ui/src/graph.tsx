// Who talks to whom: a graph that stays where it is, and a matrix of the same.

import { useEffect, useRef, useState } from "preact/hooks";
import * as format from "./format";
import { fold, place, type Link, type Network, type Node, type Position } from "./network";
import { rove } from "./rove";
import type { Service } from "./services";
import { narrow, type Ends } from "./state";
import type { Edge } from "./types";

const HEIGHT = 420;
const HEIGHT_NARROW = 320;
const NARROW = 600;
const MARGIN_X = 70;
const MARGIN_Y = 22;
const NODE_MIN = 4;
const NODE_MORE = 15;
const LINE_MIN = 0.8;
const LINE_MORE = 7;
const LINES_MANY = 25;
const OPACITY_MIN = 0.16;
const OPACITY_MORE = 0.4;
/** Size of a label's letters, about. */
const LETTER_WIDTH = 6.4;
const LETTER_HEIGHT = 13;
/** Ends of the matrix. */
const CELLS_MAX = 14;

/** Places that are remembered, so that a host which comes again stands where it stood. */
const PLACES_MAX = 400;
/** Peers that are told of each node. */
const PEERS_TOLD = 3;

/** Where nodes stood when they were shown last: a picture that moved at every refresh could not be read. */
const stood: Record<Ends, Map<string, Position>> = { hosts: new Map(), services: new Map() };

const share = (value: number, most: number): number => Math.sqrt(value / Math.max(most, 1));

const isNetwork = (id: string): boolean => id.includes("/");

/** What a picture is made of: pairs, and those of their ends that are services. */
export interface Pairs { edges: readonly Edge[]; services: ReadonlyMap<string, Service>; ends: Ends }

/** The filter of a node's packets. */
function demand(id: string, services: ReadonlyMap<string, Service>): string | null {
  const service = services.get(id);
  if (service !== undefined) return service.demand;
  return id === "others" ? null : isNetwork(id) ? `net ${id}` : `host ${id}`;
}

function narrowTo(services: ReadonlyMap<string, Service>, ...ids: string[]): void {
  const demands = ids.map((id) => demand(id, services)).filter((one) => one !== null);
  if (demands.length > 0) narrow(demands.length === 1 ? demands[0] ?? "" : `(${demands.join(" and ")})`);
}

const words = (id: string, services: ReadonlyMap<string, Service>): string => services.get(id)?.words ?? id;
const nodeWords = ({ id, bytes, hosts }: Node, services: ReadonlyMap<string, Service>): string =>
  `${words(id, services)}: ${format.bytes(bytes)}${hosts > 1 ? `, ${format.count(hosts)} hosts` : ""}`;
const linkWords = ({ a, b, bytes, packets, pairs }: Link, services: ReadonlyMap<string, Service>): string =>
  `${words(a, services)} – ${words(b, services)}: ${format.bytes(bytes)}, ${format.count(packets)} packets${pairs > 1 ? `, ${format.count(pairs)} pairs of hosts` : ""}`;

/** A node and its largest peers, for whoever hears the picture. */
function heard(node: Node, links: readonly Link[], services: ReadonlyMap<string, Service>): string {
  const own = links.filter(({ a, b }) => a === node.id || b === node.id);
  const peers = own.slice(0, PEERS_TOLD).map(({ a, b, bytes }) => `${words(a === node.id ? b : a, services)} ${format.bytes(bytes)}`);
  const more = own.length > PEERS_TOLD ? ` and ${own.length - PEERS_TOLD} more` : "";
  return `${nodeWords(node, services)}${peers.length > 0 ? `; with ${peers.join(", ")}${more}` : ""}`;
}

/** The width of an element, as it changes. */
export function useWidth() {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    setWidth(element.clientWidth);
    const watch = new ResizeObserver(() => { if (element.clientWidth > 0) setWidth(element.clientWidth); });
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  return { box, width };
}

export function Graph({ edges, services, ends }: Pairs) {
  const { box, width } = useWidth();
  const network = fold(edges, new Set(services.keys()));
  const at = place(network, stood[ends]);
  stood[ends] = new Map([...[...stood[ends]].filter(([id]) => !at.has(id)), ...at].slice(-PLACES_MAX));
  const height = width < NARROW ? HEIGHT_NARROW : HEIGHT;
  return (
    <div class="graph" ref={box}>
      {width > 0 && <Drawing network={network} services={services} at={at} width={width} height={height} />}
      {network.isFolded && <p class="folded">Hosts that weigh little, or alike, stand together by network.</p>}
    </div>
  );
}

interface DrawingProps { network: Network; services: ReadonlyMap<string, Service>; at: Map<string, Position>; width: number; height: number }

function Drawing({ network: { nodes, links }, services, at, width, height }: DrawingProps) {
  const most = Math.max(...nodes.map((node) => node.bytes));
  const thickest = Math.max(...links.map((link) => link.bytes));
  // Many lines of one weight would be a single blot.
  const fine = Math.min(1, Math.sqrt(LINES_MANY / links.length));
  const spot = (id: string) => {
    const { x, y } = at.get(id) ?? { x: 0.5, y: 0.5 };
    return { x: MARGIN_X + x * (width - 2 * MARGIN_X), y: MARGIN_Y + y * (height - 2 * MARGIN_Y) };
  };
  const radius = (node: Node) => NODE_MIN + NODE_MORE * share(node.bytes, most);
  const labels = labelled(nodes.map((node) => ({ node, words: words(node.id, services), ...spot(node.id), radius: radius(node) })), width);
  const kind = (id: string) => (services.has(id) ? "service" : isNetwork(id) ? "network" : "");
  return (
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" onKeyDown={rove}
      aria-label={`${nodes.length} nodes and the traffic between them: arrow keys go from one to the next, the largest first; Enter shows its traffic`}>
      {links.filter(({ a, b }) => a !== b).map((link) => {
        const [from, to] = [spot(link.a), spot(link.b)];
        return (
          <line key={`${link.a} ${link.b}`} aria-hidden="true" x1={from.x} y1={from.y} x2={to.x} y2={to.y} stroke-width={LINE_MIN + LINE_MORE * fine * share(link.bytes, thickest)} stroke-opacity={OPACITY_MIN + OPACITY_MORE * share(link.bytes, thickest)} onClick={() => narrowTo(services, link.a, link.b)}>
            <title>{linkWords(link, services)}</title>
          </line>
        );
      })}
      {nodes.map((node, number) => {
        const { x, y } = spot(node.id);
        return (
          <circle key={node.id} class={kind(node.id)} role="button" data-rove="" tabindex={number === 0 ? 0 : -1} aria-label={heard(node, links, services)} cx={x} cy={y} r={radius(node)} onClick={() => narrowTo(services, node.id)}>
            <title>{nodeWords(node, services)}</title>
          </circle>
        );
      })}
      {labels.map(({ id, words, x, y, end }) => <text key={id} aria-hidden="true" x={x} y={y} text-anchor={end ? "end" : "start"}>{words}</text>)}
    </svg>
  );
}

interface Spot { node: Node; words: string; x: number; y: number; radius: number }

/** Labels that collide with none of a larger node, nor leave the picture. */
function labelled(spots: Spot[], width: number): { id: string; words: string; x: number; y: number; end: boolean }[] {
  const circles = spots.map(({ x, y, radius }) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius }));
  const texts: { left: number; right: number; top: number; bottom: number }[] = [];
  const shown: { id: string; words: string; x: number; y: number; end: boolean }[] = [];
  spots.forEach(({ node: { id }, words, x, y, radius }, index) => {
    const wide = words.length * LETTER_WIDTH;
    for (const end of [x > width / 2 && x + radius + wide > width - 4, x <= width / 2 || x - radius - wide < 4 ? false : true]) {
      const from = end ? x - radius - 4 - wide : x + radius + 4;
      const box = { left: from, right: from + wide, top: y - LETTER_HEIGHT / 2, bottom: y + LETTER_HEIGHT / 2 };
      // The circles of lesser ones may lie below it.
      const collides = [...texts, ...circles.slice(0, index)].some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom);
      if (collides || box.left < 2 || box.right > width - 2) continue;
      texts.push(box);
      shown.push({ id, words, x: end ? x - radius - 4 : x + radius + 4, y: y + 4, end });
      return;
    }
  });
  return shown;
}

/** The same as a table: the heaviest ends, and what each pair exchanged. */
export function Matrix({ edges, services }: Pairs) {
  const { nodes, links } = fold(edges, new Set(services.keys()));
  // One stop of the Tab key: the arrow keys go on from there.
  let isFirst = true;
  const stop = () => { const at = isFirst ? 0 : -1; isFirst = false; return at; };
  const ends = nodes.slice(0, CELLS_MAX).map((node) => node.id);
  const of = new Map(links.flatMap((link) => [[`${link.a} ${link.b}`, link], [`${link.b} ${link.a}`, link]]));
  const most = Math.max(1, ...links.map((link) => link.bytes));
  return (
    <div class="matrix scroll" tabIndex={0} role="region" aria-label="Matrix of the heaviest ends" onKeyDown={rove}>
      <table>
        <thead><tr><td />{ends.map((id) => <th key={id} scope="col" title={words(id, services)}><span>{words(id, services)}</span></th>)}</tr></thead>
        <tbody>
          {ends.map((row) => (
            <tr key={row}>
              <th scope="row" title={words(row, services)}>{words(row, services)}</th>
              {ends.map((column) => {
                const link = of.get(`${row} ${column}`);
                if (link === undefined) return <td key={column} />;
                return (
                  <td key={column}>
                    <button type="button" data-rove="" tabIndex={stop()} title={linkWords(link, services)} aria-label={linkWords(link, services)} style={{ opacity: 0.12 + 0.88 * share(link.bytes, most) }} onClick={() => narrowTo(services, row, column)} />
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
