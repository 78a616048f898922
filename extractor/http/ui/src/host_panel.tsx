// One host: when it was seen, how much, with whom, on which ports, under which names.

import { hostSummary, hostValues, summary } from "./api";
import { Fact } from "./fact";
import * as format from "./format";
import { look, narrow, seek } from "./state";
import type { Edge, Property } from "./types";

const SPARK_WIDTH = 640;
const SPARK_HEIGHT = 64;
/** Properties that name what a host has asked for, or is. */
const NAMES: readonly [string, string][] = [
  ["server_name", "TLS names"], ["http_host", "HTTP hosts"], ["dns_question", "DNS questions"], ["dns_answer", "DNS answers"], ["http_user_agent", "User agents"], ["ja4", "JA4"], ["ssh_banner", "SSH banners"],
];

export function HostPanel({ host }: { host: string }) {
  const { value, problem, busy } = hostSummary.value;
  const { value: known } = hostValues.value;
  const of = value?.top.hosts.find((one) => one.address === host);
  const place = format.place((value?.places ?? summary.value.value?.places ?? {})[host]);
  return (
    <div aria-busy={busy}>
      <h2>Host <code>{host}</code> {place !== "" && <small>{place}</small>}</h2>
      {problem !== null && <p class="problem" role="alert">{problem.detail ?? problem.title}</p>}
      <p class="ways-line">
        <button type="button" class="primary" onClick={() => { narrow(`host ${host}`); look({ host: null }); }}>Show only this host</button>
        <button type="button" onClick={() => look({ tab: "packets", filter: `host ${host}`, host: null })}>Its packets</button>
      </p>
      {value !== null && (
        <dl>
          <Fact name="First seen" value={known?.first == null ? "" : format.dayTime(known.first)} />
          <Fact name="Last seen" value={known?.last == null ? "" : format.dayTime(known.last)} />
          <Fact name="Sent" value={of === undefined ? "" : format.bytes(of.sent_bytes)} />
          <Fact name="Received" value={of === undefined ? "" : format.bytes(of.received_bytes)} />
          <Fact name="Packets" value={format.count(value.totals.packets)} />
          <Fact name="Conversations" value={format.count(value.totals.conversations)} />
        </dl>
      )}
      {value !== null && <Spark amounts={value.series.map((point) => point.bytes)} />}
      {value !== null && (
        <div class="facts">
          <List name="Peers" rows={value.edges.map((edge) => peer(edge, host))} open={(one) => look({ host: one })} />
          <List name="Server ports" rows={value.top.ports.map((port) => [`${port.protocol} ${port.port}`, port.bytes])} open={(one) => narrow(one.replace(" ", " port "))} />
          <List name="Applications" rows={value.top.applications.map((application) => [application.name, application.bytes])} open={(one) => seek(`application:"${one}"`)} />
          {NAMES.map(([name, words]) => <Names key={name} words={words} property={known?.properties.find((one) => one.name === name)} />)}
        </div>
      )}
    </div>
  );
}

const peer = ({ a, b, bytes }: Edge, host: string): [string, number] => [a === host ? b : a, bytes];

function List({ name, rows, open }: { name: string; rows: [string, number][]; open: (one: string) => void }) {
  if (rows.length === 0) return null;
  return (
    <section>
      <h3>{name}</h3>
      <ul class="plain-list">{rows.map(([one, bytes]) => <li key={one}><button type="button" class="link" onClick={() => open(one)}>{one}</button> <span class="amount">{format.bytes(bytes)}</span></li>)}</ul>
    </section>
  );
}

function Names({ words, property }: { words: string; property: Property | undefined }) {
  if (property === undefined) return null;
  return (
    <section>
      <h3>{words}</h3>
      <ul class="plain-list">{property.values.map((one) => (
        <li key={one.value}><button type="button" class="link" onClick={() => seek(`${property.name}:${format.quoted(one.value)}`)}>{one.value}</button> <span class="amount">{format.count(one.conversations)}</span></li>
      ))}</ul>
    </section>
  );
}

/** Bytes over time, as small as they can be told. */
function Spark({ amounts }: { amounts: number[] }) {
  const most = Math.max(1, ...amounts);
  const step = SPARK_WIDTH / Math.max(amounts.length, 1);
  const points = amounts.map((amount, index) => {
    const y = (SPARK_HEIGHT * (1 - amount / most)).toFixed(1);
    return `L${(index * step).toFixed(1)} ${y}H${((index + 1) * step).toFixed(1)}`;
  });
  return (
    <svg class="spark" viewBox={`0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`} preserveAspectRatio="none" role="img" aria-label="Bytes over time">
      <path d={`M0 ${SPARK_HEIGHT}${points.join("")}V${SPARK_HEIGHT}Z`} />
    </svg>
  );
}
