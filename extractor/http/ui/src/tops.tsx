// Who talks most. A click narrows the page to it.

import type { ComponentChildren } from "preact";
import { summary } from "./api";
import * as format from "./format";
import { look, narrow, seek } from "./state";

interface Row {
  key: string;
  name: ComponentChildren;
  title: string;
  bytes: number;
  note: string;
  open: (() => void) | null;
  /** Opens what is known about it, where there is more. */
  about?: () => void;
}

export function Tops() {
  const top = summary.value.value?.top;
  const places = summary.value.value?.places ?? {};
  if (top === undefined) return null;
  return (
    <div class="tops">
      <Top name="Hosts" rows={top.hosts.map((host) => ({
        key: host.address, name: host.address, title: [`${format.bytes(host.sent_bytes)} sent, ${format.bytes(host.received_bytes)} received`, format.place(places[host.address])].filter(Boolean).join("; "),
        bytes: host.bytes, note: [places[host.address]?.country_code, `↑ ${format.bytes(host.sent_bytes)}`].filter(Boolean).join(" "), open: () => narrow(`host ${host.address}`), about: () => look({ host: host.address, flow: null, packet: null }),
      }))} />
      <Top name="Ports" rows={top.ports.map((port) => ({
        key: `${port.protocol}/${port.port}`, name: `${port.protocol} ${port.port}`, title: `${format.count(port.packets)} packets`,
        bytes: port.bytes, note: format.count(port.conversations), open: () => narrow(`${port.protocol} port ${port.port}`),
      }))} />
      <Top name="Applications" rows={top.applications.map((application) => ({
        key: application.name, name: <>{application.name}{application.guessed && <i class="guess" title="guessed from the port">?</i>}</>,
        title: `${format.count(application.packets)} packets`, bytes: application.bytes, note: format.count(application.conversations),
        open: () => seek(`application:${application.name}`),
      }))} />
      <Top name="Conversations" rows={top.conversations.map((one) => ({
        key: one.id, name: `${one.client.address} → ${format.endpoint(one.server)}`, title: `${format.count(one.client_packets + one.server_packets)} packets`,
        bytes: one.client_bytes + one.server_bytes, note: one.protocol, open: () => look({ flow: one.id }),
      }))} />
    </div>
  );
}

function Top({ name, rows }: { name: string; rows: Row[] }) {
  const most = Math.max(1, ...rows.map((row) => row.bytes));
  return (
    <section class="card top">
      <h2>{name}</h2>
      {rows.length === 0 && <p class="empty">None.</p>}
      <ol>
        {rows.map((row) => (
          <li key={row.key}>
            <button type="button" title={row.title} onClick={() => row.open?.()}>
              <progress max={most} value={row.bytes} aria-hidden="true" />
              <span class="name">{row.name}</span>
              <span class="note">{row.note}</span>
              <span class="amount">{format.bytes(row.bytes)}</span>
            </button>
            {row.about !== undefined && <button type="button" class="icon about" aria-label={`About ${row.key}`} title={`About ${row.key}`} onClick={row.about}>i</button>}
          </li>
        ))}
      </ol>
    </section>
  );
}
