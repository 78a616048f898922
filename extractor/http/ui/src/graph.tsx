// Who talks to whom: a graph that stays where it is, and a matrix of the same.

import { useEffect, useRef, useState } from "preact/hooks";
import * as format from "./format";
import { fold, place, type Link, type Network, type Node, type Position } from "./network";
import { narrow } from "./state";
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

/** Where nodes stood when they were shown last: a picture that moved at every refresh could not be read. */
let stood = new Map<string, Position>();

const share = (value: number, most: number): number => Math.sqrt(value / Math.max(most, 1));

const isNetwork = (id: string): boolean => id.includes("/");

/** The filter of a node's packets. */
const demand = (id: string): string | null => (id === "others" ? null : isNetwork(id) ? `net ${id}` : `host ${id}`);

function narrowTo(...ids: string[]): void {
  const demands = ids.map(demand).filter((one) => one !== null);
  if (demands.length > 0) narrow(demands.length === 1 ? demands[0] ?? "" : `(${demands.join(" and ")})`);
}

const nodeWords = ({ id, bytes, hosts }: Node): string => `${id}: ${format.bytes(bytes)}${hosts > 1 ? `, ${format.count(hosts)} hosts` : ""}`;
const linkWords = ({ a, b, bytes, packets, pairs }: Link): string =>
  `${a} – ${b}: ${format.bytes(bytes)}, ${format.count(packets)} packets${pairs > 1 ? `, ${format.count(pairs)} pairs of hosts` : ""}`;

export function Graph({ edges }: { edges: readonly Edge[] }) {
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
  const network = fold(edges);
  const at = place(network, stood);
  stood = at;
  const height = width < NARROW ? HEIGHT_NARROW : HEIGHT;
  return (
    <div class="graph" ref={box}>
      {width > 0 && <Drawing network={network} at={at} width={width} height={height} />}
      {network.isFolded && <p class="folded">Hosts that weigh little, or alike, stand together by network.</p>}
    </div>
  );
}

function Drawing({ network: { nodes, links }, at, width, height }: { network: Network; at: Map<string, Position>; width: number; height: number }) {
  const most = Math.max(...nodes.map((node) => node.bytes));
  const thickest = Math.max(...links.map((link) => link.bytes));
  // Many lines of one weight would be a single blot.
  const fine = Math.min(1, Math.sqrt(LINES_MANY / links.length));
  const spot = (id: string) => {
    const { x, y } = at.get(id) ?? { x: 0.5, y: 0.5 };
    return { x: MARGIN_X + x * (width - 2 * MARGIN_X), y: MARGIN_Y + y * (height - 2 * MARGIN_Y) };
  };
  const radius = (node: Node) => NODE_MIN + NODE_MORE * share(node.bytes, most);
  const labels = labelled(nodes.map((node) => ({ node, ...spot(node.id), radius: radius(node) })), width);
  return (
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label="Hosts and the traffic between them; the same numbers are in the matrix and the lists">
      {links.filter(({ a, b }) => a !== b).map((link) => {
        const [from, to] = [spot(link.a), spot(link.b)];
        return (
          <line key={`${link.a} ${link.b}`} x1={from.x} y1={from.y} x2={to.x} y2={to.y} stroke-width={LINE_MIN + LINE_MORE * fine * share(link.bytes, thickest)} stroke-opacity={OPACITY_MIN + OPACITY_MORE * share(link.bytes, thickest)} onClick={() => narrowTo(link.a, link.b)}>
            <title>{linkWords(link)}</title>
          </line>
        );
      })}
      {nodes.map((node) => {
        const { x, y } = spot(node.id);
        return (
          <circle key={node.id} class={isNetwork(node.id) ? "network" : ""} cx={x} cy={y} r={radius(node)} onClick={() => narrowTo(node.id)}>
            <title>{nodeWords(node)}</title>
          </circle>
        );
      })}
      {labels.map(({ id, x, y, end }) => <text key={id} x={x} y={y} text-anchor={end ? "end" : "start"}>{id}</text>)}
    </svg>
  );
}

interface Spot { node: Node; x: number; y: number; radius: number }

/** Labels that collide with none of a larger node, nor leave the picture. */
function labelled(spots: Spot[], width: number): { id: string; x: number; y: number; end: boolean }[] {
  const circles = spots.map(({ x, y, radius }) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius }));
  const texts: { left: number; right: number; top: number; bottom: number }[] = [];
  const shown: { id: string; x: number; y: number; end: boolean }[] = [];
  spots.forEach(({ node: { id }, x, y, radius }, index) => {
    const wide = id.length * LETTER_WIDTH;
    for (const end of [x > width / 2 && x + radius + wide > width - 4, x <= width / 2 || x - radius - wide < 4 ? false : true]) {
      const from = end ? x - radius - 4 - wide : x + radius + 4;
      const box = { left: from, right: from + wide, top: y - LETTER_HEIGHT / 2, bottom: y + LETTER_HEIGHT / 2 };
      // The circles of lesser ones may lie below it.
      const collides = [...texts, ...circles.slice(0, index)].some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom);
      if (collides || box.left < 2 || box.right > width - 2) continue;
      texts.push(box);
      shown.push({ id, x: end ? x - radius - 4 : x + radius + 4, y: y + 4, end });
      return;
    }
  });
  return shown;
}

/** The same as a table: the heaviest ends, and what each pair exchanged. */
export function Matrix({ edges }: { edges: readonly Edge[] }) {
  const { nodes, links } = fold(edges);
  const ends = nodes.slice(0, CELLS_MAX).map((node) => node.id);
  const of = new Map(links.flatMap((link) => [[`${link.a} ${link.b}`, link], [`${link.b} ${link.a}`, link]]));
  const most = Math.max(1, ...links.map((link) => link.bytes));
  return (
    <div class="matrix scroll" tabIndex={0} role="region" aria-label="Matrix of hosts">
      <table>
        <thead><tr><td />{ends.map((id) => <th key={id} scope="col" title={id}><span>{id}</span></th>)}</tr></thead>
        <tbody>
          {ends.map((row) => (
            <tr key={row}>
              <th scope="row" title={row}>{row}</th>
              {ends.map((column) => {
                const link = of.get(`${row} ${column}`);
                if (link === undefined) return <td key={column} />;
                return (
                  <td key={column}>
                    <button type="button" tabIndex={-1} title={linkWords(link)} aria-label={linkWords(link)} style={{ opacity: 0.12 + 0.88 * share(link.bytes, most) }} onClick={() => narrowTo(row, column)} />
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
