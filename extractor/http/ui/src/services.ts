// Conversations by the service that they are with: which there are, who asks them, who answers.

import type { Conversation, Edge } from "./types";

/** Services that stand alone; the rest is one. */
export const SERVICES_MAX = 16;
/** Ends of a Sankey that stand alone on either side; the rest is one. */
const ENDS_MAX = 12;
const OTHER_SERVICES = "other services";
const OTHER_HOSTS = "other hosts";

/** A service: its words, and the filter of its packets where there is one. */
export interface Service { id: string; words: string; demand: string | null; bytes: number }
/** Traffic of a client with a server by a service, each alone or among others. */
export interface Band { client: string; service: string; server: string; bytes: number; conversations: number }
export interface Services { services: Map<string, Service>; edges: Edge[]; bands: Band[] }

const volume = (one: Conversation): number => one.client_bytes + one.server_bytes;
const packets = (one: Conversation): number => one.client_packets + one.server_packets;

/** Protocol and server's port, as in "tcp 443". */
function idOf({ protocol, server }: Conversation): string {
  return server.port == null ? protocol : `${protocol} ${server.port}`;
}

/** The filter of a service's packets: of protocols that a filter knows by name. */
function demandOf({ protocol, server }: Conversation): string | null {
  if (["tcp", "udp", "sctp"].includes(protocol) && server.port != null) return `${protocol} port ${server.port}`;
  return ["icmp", "icmp6", "arp", "igmp", "esp", "ah"].includes(protocol) ? protocol : null;
}

/** The names with most bytes. */
function largest(sums: Map<string, number>, most: number): Set<string> {
  const sorted = [...sums].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
  return new Set(sorted.slice(0, most).map(([name]) => name));
}

const add = (sums: Map<string, number>, name: string, bytes: number): void => { sums.set(name, (sums.get(name) ?? 0) + bytes); };

export function servicesOf(flows: readonly Conversation[]): Services {
  const [sums, clients, servers] = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()];
  const applications = new Map<string, Map<string, number>>();
  const known = flows.filter(({ client, server }) => client.address !== null && server.address !== null);
  for (const one of known) {
    const id = idOf(one);
    add(sums, id, volume(one));
    add(clients, one.client.address ?? "", volume(one));
    add(servers, one.server.address ?? "", volume(one));
    const names = applications.get(id) ?? new Map<string, number>();
    applications.set(id, names);
    if (one.labels?.application !== undefined) add(names, one.labels.application, volume(one));
  }
  const alone = largest(sums, SERVICES_MAX);
  const [left, right] = [largest(clients, ENDS_MAX), largest(servers, ENDS_MAX)];
  const services = new Map<string, Service>();
  const [edges, bands] = [new Map<string, Edge>(), new Map<string, Band>()];
  for (const one of known) {
    const own = idOf(one);
    const isAlone = alone.has(own);
    const id = isAlone ? own : OTHER_SERVICES;
    const bytes = volume(one);
    const [application] = isAlone ? largest(applications.get(own) ?? new Map(), 1) : [];
    const before = services.get(id);
    services.set(id, { id, words: application === undefined || own.startsWith(application) ? id : `${application} (${id})`, demand: isAlone ? demandOf(one) : null, bytes: bytes + (before?.bytes ?? 0) });
    const [client, server] = [one.client.address ?? "", one.server.address ?? ""];
    const edge = edges.get(`${client} ${id}`) ?? { a: client, b: id, packets: 0, bytes: 0 };
    edges.set(`${client} ${id}`, { ...edge, packets: edge.packets + packets(one), bytes: edge.bytes + bytes });
    const [from, to] = [left.has(client) ? client : OTHER_HOSTS, right.has(server) ? server : OTHER_HOSTS];
    const key = `${from}|${id}|${to}`;
    const band = bands.get(key) ?? { client: from, service: id, server: to, bytes: 0, conversations: 0 };
    bands.set(key, { ...band, bytes: band.bytes + bytes, conversations: band.conversations + 1 });
  }
  return { services, edges: [...edges.values()], bands: [...bands.values()] };
}
