// Hosts and their traffic as a picture of few nodes: which stand alone, which are folded into their network, and where each stands.

import type { Edge } from "./types";

/** Nodes that can be told apart in a picture. */
export const NODES_MAX = 60;
/** Hosts that stand alone where others are folded, and the share of the traffic that they must have for it. */
const ALONE_MAX = 30;
const ALONE_SHARE = 0.5;
/** Bits of a network, from the narrowest: of IPv4, and of IPv6 in groups of 16. */
const IPV4_PARTS = [3, 2, 1];
const IPV6_GROUPS = [4, 3, 2];
const OTHERS = "others";
/** Steps of the layout, and how far a node may go in the first of them, as a share of the picture. */
const STEPS = 260;
const STEP_MAX = 0.08;
/** Where nodes of a picture that has been shown are put anew, they move little. */
const STEPS_AGAIN = 60;
/** How much more than the others the largest node pushes. */
const MASS_MORE = 4;

export interface Node { id: string; bytes: number; hosts: number }
export interface Link { a: string; b: string; bytes: number; packets: number; pairs: number }
export interface Network { nodes: Node[]; links: Link[]; isFolded: boolean }
export interface Position { x: number; y: number }

/** What each host exchanged. */
export function volumes(edges: readonly Edge[]): Map<string, number> {
  const of = new Map<string, number>();
  for (const { a, b, bytes } of edges) {
    of.set(a, (of.get(a) ?? 0) + bytes);
    if (b !== a) of.set(b, (of.get(b) ?? 0) + bytes);
  }
  return of;
}

/** The groups of an IPv6 address, all eight of them. */
function groups(address: string): string[] {
  const [head = "", tail] = address.split("::");
  const [before, behind] = [head, tail ?? ""].map((part) => part.split(":").filter((group) => group !== ""));
  if (tail === undefined) return before ?? [];
  return [...(before ?? []), ...Array<string>(Math.max(0, 8 - (before?.length ?? 0) - (behind?.length ?? 0))).fill("0"), ...(behind ?? [])];
}

/** The network of an address, the wider the higher the level. */
function networkOf(address: string, level: number): string {
  if (address.includes(":")) {
    const kept = groups(address).slice(0, IPV6_GROUPS[level]);
    return `${kept.join(":").replace(/(:0)+$/, "")}::/${(IPV6_GROUPS[level] ?? 0) * 16}`;
  }
  const parts = IPV4_PARTS[level] ?? 1;
  const kept = address.split(".").slice(0, parts);
  return `${[...kept, ...Array<string>(4 - parts).fill("0")].join(".")}/${parts * 8}`;
}

/** The hosts and their traffic in at most so many nodes. What is `fixed` is no host, and stands as it is. */
export function fold(edges: readonly Edge[], fixed: ReadonlySet<string> = new Set()): Network {
  const of = volumes(edges);
  const hosts = [...of].filter(([id]) => !fixed.has(id));
  const sorted = hosts.sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
  const most = NODES_MAX - (of.size - hosts.length);
  if (sorted.length <= most) return network(edges, (address) => address, false);
  const all = sorted.reduce((sum, [, bytes]) => sum + bytes, 0);
  const few = sorted.slice(0, ALONE_MAX);
  const share = few.reduce((sum, [, bytes]) => sum + bytes, 0) / Math.max(all, 1);
  // Where hundreds weigh alike, none of them stands for the others.
  const alone = new Set(share >= ALONE_SHARE ? few.map(([address]) => address) : []);
  for (let level = 0; level < IPV4_PARTS.length; level += 1) {
    const name = (address: string) => (alone.has(address) || fixed.has(address) ? address : networkOf(address, level));
    if (new Set(sorted.map(([address]) => name(address))).size <= most) return network(edges, name, true);
  }
  const kept = new Set(sorted.slice(0, most - 1).map(([address]) => address));
  return network(edges, (address) => (kept.has(address) || fixed.has(address) ? address : OTHERS), true);
}

function network(edges: readonly Edge[], name: (address: string) => string, isFolded: boolean): Network {
  const nodes = new Map<string, Node>();
  const hosts = new Map<string, Set<string>>();
  const links = new Map<string, Link>();
  const count = (id: string, address: string, bytes: number) => {
    const node = nodes.get(id) ?? { id, bytes: 0, hosts: 0 };
    const known = hosts.get(id) ?? new Set();
    known.add(address);
    hosts.set(id, known);
    nodes.set(id, { id, bytes: node.bytes + bytes, hosts: known.size });
  };
  for (const { a, b, bytes, packets } of edges) {
    const [one, other] = [name(a), name(b)].sort() as [string, string];
    count(name(a), a, bytes);
    if (a !== b) count(name(b), b, bytes);
    const link = links.get(`${one} ${other}`) ?? { a: one, b: other, bytes: 0, packets: 0, pairs: 0 };
    links.set(`${one} ${other}`, { ...link, bytes: link.bytes + bytes, packets: link.packets + packets, pairs: link.pairs + 1 });
  }
  const sorted = [...nodes.values()].sort((one, other) => other.bytes - one.bytes || (one.id < other.id ? -1 : 1));
  return { nodes: sorted, links: [...links.values()].sort((one, other) => other.bytes - one.bytes), isFolded };
}

/** A number between 0 and 1 that is always the same for a text. */
function chance(text: string): number {
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 16777619);
  return (hash >>> 0) / 2 ** 32;
}

/** Places of nodes within the unit square. Those that were there before stay where they were. */
export function place({ nodes, links }: Network, before: ReadonlyMap<string, Position>): Map<string, Position> {
  const at = new Map<string, Position>();
  nodes.forEach(({ id }, index) => {
    const angle = index * 2.399963; // the golden angle: no two on a line
    const radius = 0.12 + 0.36 * Math.sqrt((index + chance(id)) / Math.max(nodes.length, 1));
    at.set(id, before.get(id) ?? { x: 0.5 + radius * Math.cos(angle), y: 0.5 + radius * Math.sin(angle) });
  });
  const isNew = ({ id }: Node) => !before.has(id);
  if (!nodes.some(isNew)) return at;
  const isFirst = nodes.every(isNew);
  const steps = isFirst ? STEPS : STEPS_AGAIN;
  const wide = 0.75 / Math.sqrt(Math.max(nodes.length, 1));
  // The larger a node is, the more room it takes.
  const most = Math.max(1, ...nodes.map((node) => node.bytes));
  const mass = nodes.map((node) => 1 + MASS_MORE * Math.sqrt(node.bytes / most));
  for (let step = 0; step < steps; step += 1) {
    const reach = STEP_MAX * (1 - step / steps);
    const forces = new Map(nodes.map(({ id }) => [id, { x: 0, y: 0 }]));
    const push = (id: string, x: number, y: number) => {
      const force = forces.get(id);
      if (force !== undefined) { force.x += x; force.y += y; }
    };
    for (let one = 0; one < nodes.length; one += 1) {
      for (let other = one + 1; other < nodes.length; other += 1) {
        const [a, b] = [nodes[one]?.id ?? "", nodes[other]?.id ?? ""];
        const [from, to] = [at.get(a), at.get(b)];
        if (from === undefined || to === undefined) continue;
        const [x, y] = [from.x - to.x || 1e-3, from.y - to.y || 1e-3];
        const away = (wide * wide * (mass[one] ?? 1) * (mass[other] ?? 1)) / (x * x + y * y) / MASS_MORE;
        push(a, x * away, y * away);
        push(b, -x * away, -y * away);
      }
    }
    for (const { a, b } of links) {
      const [from, to] = [at.get(a), at.get(b)];
      if (from === undefined || to === undefined || a === b) continue;
      const [x, y] = [from.x - to.x, from.y - to.y];
      const near = Math.hypot(x, y) / wide;
      push(a, -x * near * 0.5, -y * near * 0.5);
      push(b, x * near * 0.5, y * near * 0.5);
    }
    for (const { id } of nodes) {
      const [force, position] = [forces.get(id), at.get(id)];
      if (force === undefined || position === undefined || (!isFirst && before.has(id))) continue;
      const [x, y] = [force.x + (0.5 - position.x) * 0.4, force.y + (0.5 - position.y) * 0.4];
      const size = Math.max(Math.hypot(x, y), 1e-9);
      const far = Math.min(size, reach) / size;
      at.set(id, { x: clamp(position.x + x * far), y: clamp(position.y + y * far) });
    }
  }
  return isFirst ? spread(at) : at;
}

const clamp = (value: number): number => Math.min(1, Math.max(0, value));

/** The same picture, as large as its card, and less crowded where it was: half of each place is its rank. */
function spread(at: Map<string, Position>): Map<string, Position> {
  if (at.size < 2) return new Map([...at].map(([id]) => [id, { x: 0.5, y: 0.5 }]));
  const along = (of: (position: Position) => number): ((position: Position) => number) => {
    const sorted = [...at.values()].map(of).sort((one, other) => one - other);
    const [least = 0, most = 1] = [sorted[0], sorted.at(-1)];
    const wide = Math.max(most - least, 1e-6);
    return (position) => {
      const value = of(position);
      return ((value - least) / wide + sorted.indexOf(value) / (sorted.length - 1)) / 2;
    };
  };
  const [x, y] = [along((position) => position.x), along((position) => position.y)];
  return new Map([...at].map(([id, position]) => [id, { x: x(position), y: y(position) }]));
}
