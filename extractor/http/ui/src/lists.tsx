// The lists at the foot of the page: conversations, packets, labels, and what is found of a list that somebody brings.

import { flows, packetPage, values } from "./api";
import { Hits } from "./hits";
import { FlowsTable } from "./flows_table";
import { PacketTable } from "./packet_table";
import { look, looked, type Tab } from "./state";
import { Values } from "./values";

const TABS: readonly [Tab, string][] = [["flows", "Conversations"], ["packets", "Packets"], ["labels", "Labels"], ["hits", "List"]];

export function Lists() {
  const { tab } = looked.value;
  const shown = tab === "hits" ? { problem: null, busy: false } : { flows, packets: packetPage, labels: values }[tab].value;
  return (
    <section class={shown.problem !== null ? `card lists ${tab} old` : `card lists ${tab}`} aria-busy={shown.busy}>
      <h2>
        <span class="choice tabs" role="group" aria-label="List">
          {TABS.map(([name, words]) => <button type="button" key={name} aria-pressed={tab === name} onClick={() => look({ tab: name })}>{words}</button>)}
        </span>
      </h2>
      {tab === "flows" && <FlowsTable />}
      {tab === "packets" && <PacketTable />}
      {tab === "labels" && <Values />}
      {tab === "hits" && <Hits />}
    </section>
  );
}
