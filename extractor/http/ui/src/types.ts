// The shapes that the service answers with. Times are RFC 3339 with nanoseconds; bytes are bytes on the wire.

export interface Point {
  at: string;
  packets: number;
  bytes: number;
  dropped: number;
}

export interface HostRow {
  address: string;
  packets: number;
  bytes: number;
  sent_bytes: number;
  received_bytes: number;
  conversations: number;
}

export interface PortRow {
  protocol: string;
  port: number;
  packets: number;
  bytes: number;
  conversations: number;
}

export interface ApplicationRow {
  name: string;
  guessed: boolean;
  packets: number;
  bytes: number;
  conversations: number;
}

export interface Edge {
  a: string;
  b: string;
  packets: number;
  bytes: number;
}

export interface Endpoint {
  /** null: there is no IP header. */
  address: string | null;
  port?: number | null;
}

export interface Tunnel {
  kind: string;
  id?: number | null;
  source?: string | null;
  destination?: string | null;
}

export interface Labels {
  application?: string;
  guessed?: boolean;
  [name: string]: unknown;
}

export interface Conversation {
  id: string;
  first: string;
  last: string;
  protocol: string;
  client: Endpoint;
  server: Endpoint;
  client_packets: number;
  client_bytes: number;
  server_packets: number;
  server_bytes: number;
  tcp?: { client_flags: string; server_flags: string; state: string; [name: string]: unknown } | null;
  vlans?: number[];
  tunnels?: Tunnel[];
  labels?: Labels | null;
  community_id?: string | null;
}

export interface Span {
  from: string;
  to: string;
}

export interface Place {
  country?: string;
  country_code?: string;
  city?: string;
  latitude?: number;
  longitude?: number;
}

export interface Completeness {
  complete?: boolean;
  [name: string]: unknown;
}

export interface Summary {
  from: string | null;
  to: string | null;
  bucket_seconds: number;
  series: Point[];
  totals: { packets: number; bytes: number; conversations: number };
  top: { hosts: HostRow[]; ports: PortRow[]; applications: ApplicationRow[]; conversations: Conversation[] };
  edges: Edge[];
  gaps: Span[];
  places?: Record<string, Place>;
  completeness: Completeness;
  /** Where nothing was found. */
  hint?: Hint | null;
}

export interface FlowPage {
  flows: Conversation[];
  next: string | null;
}

/** Another way to look at packets, in which there are some. */
export interface Hint {
  view?: "inner" | "outer" | "any";
  ignore_vlan: boolean;
  /** True if the query would find packets; else it may. */
  certain: boolean;
}

export interface Chunk {
  from: "client" | "server";
  at: string;
  // Base64.
  bytes: string;
  // Bytes of the stream that were not captured before this chunk.
  missing?: number;
}

export interface Stream {
  chunks: Chunk[];
  truncated: boolean;
}

/** A packet in a line. */
export interface PacketRow {
  number: number;
  cursor: string;
  at: string;
  length: number;
  captured: number;
  source: string | null;
  source_port?: number;
  destination: string | null;
  destination_port?: number;
  protocol: string;
  summary: string;
  vlans?: number[];
  tunnels?: Tunnel[];
  /** Hexadecimal digits. */
  bytes?: string;
}

export interface PacketPage {
  packets: PacketRow[];
  next: string | null;
  completeness: Completeness;
  hint?: Hint | null;
}

export interface PropertyValue {
  value: string;
  packets: number;
  bytes: number;
  conversations: number;
}

/** A property of conversations, by the name of its search field. */
export interface Property {
  name: string;
  packets: number;
  bytes: number;
  conversations: number;
  distinct: number;
  approximate: boolean;
  values: PropertyValue[];
}

export interface PropertyList {
  properties: Property[];
  totals: { packets: number; bytes: number; conversations: number };
  first: string | null;
  last: string | null;
}

/** Traffic of a part over time: a number for each bucket. */
export interface SeriesPart {
  name: string;
  packets: number[];
  bytes: number[];
  retransmissions: number[];
}

export interface SplitSeries {
  by: "application" | "host";
  at: string[];
  bucket_seconds: number;
  parts: SeriesPart[];
  others: SeriesPart;
}

/** A field of a packet that was taken apart. */
export interface DissectedField {
  label: string;
  filter?: string;
  source: number;
  offset?: number;
  length: number;
  is_generated: boolean;
  severity?: string;
  fields: DissectedField[];
}

export interface DissectionAnswer {
  packet: PacketRow;
  given_packets: number;
  tree: DissectedField[];
  sources: { name: string; bytes: string }[];
  is_cut: boolean;
}

/** Selection of the packets that an alert is about. */
export interface AlertSelection {
  kind: "community-id" | "tuple" | "eve" | "zeek";
  events: number;
  filter: string;
  query?: string;
  from?: string;
  to?: string;
  ignore_vlan: boolean;
}

/** An address of a list that packets have. */
export interface Hit {
  address: string;
  entry: string | null;
  packets: number;
  bytes: number;
  first: string;
  last: string;
}

export interface HitList {
  hits: Hit[];
  /** Packets of further addresses. */
  uncounted: number;
  packets: number;
  bytes: number;
}

/** RFC 9457. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  position?: number;
  /** Parameter that it is about. */
  parameter?: string;
  /** What is wrong with a filter, without the place. */
  message?: string;
}

/** What is held for cases. */
export interface HoldList {
  holds: { case: string; segments: number; bytes: number; note?: string; [name: string]: unknown }[];
  bytes: number;
  bytes_max: number;
}
