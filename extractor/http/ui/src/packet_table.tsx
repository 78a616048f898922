// Packets in lines, a page at a time, as the service reads them.

import { mayExtract, packetPage, PACKETS_A_PAGE } from "./api";
import * as format from "./format";
import { look, looked } from "./state";
import type { PacketRow } from "./types";

export function PacketTable() {
  const { value } = packetPage.value;
  const { at } = looked.value;
  if (!mayExtract.value) return <p class="none">This token may show conversations, but no packets.</p>;
  const rows = value?.packets ?? [];
  return (
    <>
      <div class="scroll">
        <table class="packet-table">
          <thead><tr><th class="amount" scope="col">No.</th><th scope="col">Time</th><th scope="col">Source</th><th scope="col">Destination</th><th scope="col">Protocol</th><th class="amount" scope="col">Length</th><th scope="col">Summary</th></tr></thead>
          <tbody>{rows.map((row) => <Row key={row.cursor} row={row} />)}</tbody>
        </table>
      </div>
      {value !== null && rows.length === 0 && <p class="empty">No packets in this range.</p>}
      <p class="pages">
        {at !== null && <button type="button" onClick={() => look({ at: null })}>First page</button>}
        {at !== null && <button type="button" onClick={() => history.back()}>Previous</button>}
        {value?.next != null && <button type="button" onClick={() => look({ at: value.next, packet: null })}>Next {PACKETS_A_PAGE}</button>}
      </p>
    </>
  );
}

function Row({ row }: { row: PacketRow }) {
  const open = () => look({ packet: row.cursor, flow: null, host: null });
  return (
    <tr tabIndex={0} class={looked.value.packet === row.cursor ? "open" : ""} onClick={open} onKeyDown={(event) => { if (event.key === "Enter") open(); }}>
      <td class="amount">{format.count(row.number)}</td>
      <td class="when" title={row.at}>{format.timeOfDay(row.at)}<small>.{format.nanoseconds(row.at)}</small></td>
      <td class="end"><code>{row.source ?? "–"}</code></td>
      <td class="end"><code>{row.destination ?? "–"}</code></td>
      <td>{row.protocol}</td>
      <td class="amount">{format.count(row.length)}</td>
      <td class="line" title={row.summary}>{row.summary}</td>
    </tr>
  );
}
