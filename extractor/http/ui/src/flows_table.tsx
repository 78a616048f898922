// Conversations, sorted and paged by the service.

import { FLOWS_A_PAGE, flows } from "./api";
import * as format from "./format";
import { look, looked, type Sort } from "./state";
import type { Conversation } from "./types";

const COLUMNS: readonly [string, Sort | null, string][] = [
  ["Start", "start", ""], ["Duration", "duration", "amount"], ["Protocol", null, ""], ["Client", null, ""], ["Server", null, ""],
  ["Label", null, "label"], ["State", null, ""], ["Packets", "packets", "amount"], ["Bytes", "bytes", "amount"],
];

export function FlowsTable() {
  const { value } = flows.value;
  const { cursor } = looked.value;
  const rows = value?.flows ?? [];
  return (
    <>
      <div class="scroll">
        <table>
          <thead><tr>{COLUMNS.map(([name, sort, kind]) => <Heading key={name} name={name} sort={sort} kind={kind} />)}</tr></thead>
          <tbody>{rows.map((flow) => <Row key={flow.id} flow={flow} />)}</tbody>
        </table>
      </div>
      {value !== null && rows.length === 0 && <p class="empty">No conversations in this range.</p>}
      <p class="pages">
        {cursor !== null && <button type="button" onClick={() => look({ cursor: null })}>First page</button>}
        {cursor !== null && <button type="button" onClick={() => history.back()}>Previous</button>}
        {value?.next != null && <button type="button" onClick={() => look({ cursor: value.next })}>Next {FLOWS_A_PAGE}</button>}
      </p>
    </>
  );
}

function Heading({ name, sort, kind }: { name: string; sort: Sort | null; kind: string }) {
  if (sort === null) return <th class={kind} scope="col">{name}</th>;
  const { sort: by, reverse } = looked.value;
  const isSorted = by === sort;
  const isAscending = (sort === "start") !== reverse;
  return (
    <th class={kind} scope="col" aria-sort={!isSorted ? "none" : isAscending ? "ascending" : "descending"}>
      <button type="button" onClick={() => look(isSorted ? { reverse: !reverse } : { sort, reverse: false })}>{name}{isSorted && (isAscending ? " ▴" : " ▾")}</button>
    </th>
  );
}

function Row({ flow }: { flow: Conversation }) {
  const open = () => look({ flow: flow.id, packet: null, host: null });
  return (
    <tr tabIndex={0} class={looked.value.flow === flow.id ? "open" : ""} onClick={open}
      onKeyDown={(event) => { if (event.key === "Enter") open(); }}>
      <td class="when">{format.dayTime(flow.first)}<small>.{format.fraction(flow.first).slice(0, 3)}</small></td>
      <td class="amount">{format.duration(format.seconds(flow.first, flow.last))}</td>
      <td>{flow.protocol}</td>
      <td class="end"><code>{format.endpoint(flow.client)}</code></td>
      <td class="end"><code>{format.endpoint(flow.server)}</code></td>
      <td class="label">{label(flow)}</td>
      <td>{(flow.tcp?.state ?? "").replace("_", " ")}</td>
      <td class="amount">{format.count(flow.client_packets + flow.server_packets)}</td>
      <td class="amount">{format.bytes(flow.client_bytes + flow.server_bytes)}</td>
    </tr>
  );
}

/** What the conversation is about, in one word. */
export function label({ labels }: Conversation): string {
  if (labels == null) return "";
  const name = labels["server_name"] ?? labels["http_host"] ?? labels["dns_question"];
  const application = labels.application ?? "";
  return typeof name === "string" && name !== "" ? `${application} ${name}` : labels.guessed === true ? `${application}?` : application;
}
