// One conversation: what is known of it, what was said, and its packets.

import { useSignal } from "@preact/signals";
import { flow, flowAddress, followed, mayExtract, stream } from "./api";
import { Fact } from "./fact";
import * as format from "./format";
import { hex } from "./hex";
import { Ways } from "./packets";
import { seek } from "./state";
import type { Chunk, Conversation, Labels } from "./types";

export function FlowPanel() {
  const { value, problem } = flow.value;
  return (
    <>
      {problem !== null && <p class="problem" role="alert">{problem.detail ?? problem.title}</p>}
      {value !== null && <Details flow={value} />}
      {value !== null && <Follow />}
    </>
  );
}

function Details({ flow: one }: { flow: Conversation }) {
  return (
    <>
      <h2>{one.protocol} <code>{format.endpoint(one.client)}</code> → <code>{format.endpoint(one.server)}</code></h2>
      <p class="ways-line">
        <Ways address={(form) => flowAddress(one.id, form)} disabled={false} />
        <button type="button" onClick={() => seek(conversationSearch(one))}>Show only this conversation</button>
      </p>
      <dl>
        <Fact name="Start" value={`${format.dayTime(one.first)}.${format.fraction(one.first)}`} />
        <Fact name="Duration" value={format.duration(format.seconds(one.first, one.last))} />
        <Fact name="Client sent" value={`${format.count(one.client_packets)} packets, ${format.bytes(one.client_bytes)}`} />
        <Fact name="Server sent" value={`${format.count(one.server_packets)} packets, ${format.bytes(one.server_bytes)}`} />
        <Tcp of={one.tcp ?? {}} />
        <Said by={one.labels ?? {}} />
        <Fact name="VLANs" value={(one.vlans ?? []).join(", ")} />
        {(one.tunnels ?? []).map((tunnel, index) => (
          <Fact key={index} name="Tunnel" value={[tunnel.kind, tunnel.id, tunnel.source && `${tunnel.source} → ${tunnel.destination}`].filter((part) => part != null).join(" ")} />
        ))}
        <Fact name="Community ID" value={one.community_id ?? ""} />
      </dl>
    </>
  );
}

/** The search that finds the conversation, and others between the same ends. A filter would not see every one of them. */
function conversationSearch({ community_id: community, protocol, tunnels }: Conversation): string {
  const ends = community == null ? `protocol:"${protocol}"` : `community_id:"${community}"`;
  const ids = (tunnels ?? []).filter((tunnel) => tunnel.id != null).map((tunnel) => ` AND tunnel:${tunnel.id}`);
  return ends + ids.join("");
}

/** How a connection went: each direction's figures side by side. */
function Tcp({ of }: { of: Record<string, unknown> }) {
  const sides = (name: string): string => {
    const [client, server] = [of[`client_${name}`], of[`server_${name}`]];
    return client == null && server == null ? "" : `${shown(client) || "–"} from client, ${shown(server) || "–"} from server`;
  };
  const { rtt_ns: roundTrip } = of;
  return (
    <>
      <Fact name="TCP" value={shown(of["state"]).replaceAll("_", " ")} />
      <Fact name="Flags" value={sides("flags")} />
      <Fact name="Handshake" value={typeof roundTrip === "number" ? `round trip of ${format.milliseconds(roundTrip)}` : ""} />
      <Fact name="Retransmissions" value={sides("retransmissions")} />
      <Fact name="Out of order" value={sides("out_of_order")} />
    </>
  );
}

/** What the first bytes show. */
function Said({ by: { application, guessed, ...rest } }: { by: Labels }) {
  return (
    <>
      <Fact name="Application" value={application === undefined ? "" : guessed === true ? `${application}, guessed from the port` : application} />
      {Object.entries(rest).map(([name, value]) => <Fact key={name} name={format.words(name)} value={shown(value)} />)}
    </>
  );
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(shown).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function Follow() {
  const as = useSignal<"text" | "hex">("text");
  if (!mayExtract.value) return null;
  if (!followed.value) {
    return <p><button type="button" class="primary" onClick={() => { followed.value = true; }}>Follow stream</button></p>;
  }
  const { value, problem, busy } = stream.value;
  return (
    <section class="stream" aria-busy={busy}>
      <h3>Stream
        <span class="choice" role="group" aria-label="Shown as">
          <button type="button" aria-pressed={as.value === "text"} onClick={() => { as.value = "text"; }}>Text</button>
          <button type="button" aria-pressed={as.value === "hex"} onClick={() => { as.value = "hex"; }}>Hex</button>
        </span>
        <small><i class="client">client</i> <i class="server">server</i></small>
      </h3>
      {problem !== null && <p class="problem" role="alert">{problem.detail ?? problem.title}</p>}
      {value !== null && value.chunks.length === 0 && <p class="empty">No payload.</p>}
      <div class="chunks" tabIndex={0} role="region" aria-label="Stream">
        {value?.chunks.map((chunk, index) => <Piece key={index} chunk={chunk} as={as.value} />)}
      </div>
      {value?.truncated === true && <p class="empty">The rest is not shown: download the packets to see it.</p>}
    </section>
  );
}

function Piece({ chunk, as }: { chunk: Chunk; as: "text" | "hex" }) {
  const bytes = Uint8Array.from(atob(chunk.bytes), (letter) => letter.charCodeAt(0));
  return (
    <>
      {(chunk.missing ?? 0) > 0 && <p class="missing">{format.count(chunk.missing ?? 0)} bytes were not captured</p>}
      <pre class={chunk.from} title={chunk.at}>{as === "text" ? printable(bytes) : hex(bytes)}</pre>
    </>
  );
}

/** Text as it is, and a dot for what no terminal should see. */
function printable(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replaceAll("\r\n", "\n").replaceAll(/[^\P{C}\n\t]|\uFFFD/gu, "·");
}
