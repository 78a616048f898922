// One packet: its line, its ends, and its bytes.

import { packet } from "./api";
import { Dissection } from "./dissection";
import { Fact } from "./fact";
import * as format from "./format";
import { look, looked } from "./state";
import type { PacketRow } from "./types";

export function PacketPanel() {
  const { value, problem } = packet.value;
  const [row] = value?.packets ?? [];
  return (
    <>
      {problem !== null && <p class="problem" role="alert">{problem.detail ?? problem.title}</p>}
      {row !== undefined && <Details row={row} />}
    </>
  );
}

/** The filter of the packets between its ends, both ways. */
function between({ source, destination, source_port: from, destination_port: to }: PacketRow): string | null {
  if (source === null || destination === null) return null;
  const kind = source.includes(":") && source.length === 17 && !source.includes("::") && source.split(":").length === 6 ? "ether host" : "host";
  const ports = from === undefined || to === undefined ? "" : ` and port ${from} and port ${to}`;
  return `${kind} ${source} and ${kind} ${destination}${ports}`;
}

function Details({ row }: { row: PacketRow }) {
  const demand = between(row);
  return (
    <>
      <h2>{row.protocol} <code>{format.endpoint({ address: row.source, port: row.source_port ?? null })}</code> → <code>{format.endpoint({ address: row.destination, port: row.destination_port ?? null })}</code></h2>
      <p class="ways-line">
        {demand !== null && <button type="button" onClick={() => look({ filter: demand, packet: null })}>Show only packets between them</button>}
        {row.source !== null && <button type="button" onClick={() => look({ host: row.source, packet: null })}>About {row.source}</button>}
      </p>
      <dl>
        <Fact name="Number" value={format.count(row.number)} />
        <Fact name="Time" value={`${format.dayTime(row.at)}.${format.nanoseconds(row.at)}`} />
        <Fact name="In UTC" value={row.at} />
        <Fact name="Length" value={`${format.count(row.length)} bytes${row.captured < row.length ? `, of which ${format.count(row.captured)} were captured` : ""}`} />
        <Fact name="Summary" value={row.summary} />
        <Fact name="VLANs" value={(row.vlans ?? []).join(", ")} />
        {(row.tunnels ?? []).map((tunnel, index) => (
          <Fact key={index} name="Tunnel" value={[tunnel.kind, tunnel.id, tunnel.source && `${tunnel.source} → ${tunnel.destination}`].filter((part) => part != null).join(" ")} />
        ))}
      </dl>
      <Dissection row={row} />
      {looked.value.view !== "outer" && (row.tunnels ?? []).length > 0 && <p class="empty">The line is that of the innermost packet; the bytes are the packet as received.</p>}
    </>
  );
}
