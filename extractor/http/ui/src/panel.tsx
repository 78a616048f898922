// What stands at the side: one conversation, packet or host.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { followed } from "./api";
import { FlowPanel } from "./flow_panel";
import { HostPanel } from "./host_panel";
import { PacketPanel } from "./packet_panel";
import { close, looked } from "./state";

export function Panel() {
  const { flow, packet, host } = looked.value;
  if (packet !== null) return <Side key="packet" of={packet} name="Packet"><PacketPanel /></Side>;
  if (flow !== null) return <Side key="flow" of={flow} name="Conversation"><FlowPanel /></Side>;
  if (host !== null) return <Side key="host" of={host} name="Host"><HostPanel host={host} /></Side>;
  return null;
}

function Side({ of, name, children }: { of: string; name: string; children: ComponentChildren }) {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    followed.value = false;
    const before = document.activeElement;
    panel.current?.focus();
    const escape = (event: KeyboardEvent) => { if (event.key === "Escape") close(); };
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("keydown", escape);
      // Whoever came by the keyboard goes on where they were.
      if (before instanceof HTMLElement) before.focus();
    };
  }, [of]);
  return (
    <aside class="panel" ref={panel} tabIndex={-1} aria-label={name}>
      <button type="button" class="icon close" aria-label="Close" onClick={close}>×</button>
      {children}
    </aside>
  );
}
