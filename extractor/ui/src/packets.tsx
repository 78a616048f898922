// From what is looked at to its packets: a download, or the command that opens them in Wireshark.

import { useSignal } from "@preact/signals";
import { estimate, mayExtract, packetsAddress } from "./api";
import * as format from "./format";
import { hasSession } from "./session";
import { asked } from "./state";

const COPIED_FOR_MS = 1500;

export function Packets() {
  const { value, problem } = estimate.value;
  const much = value === null ? "…"
    : value.packets_min === value.packets_max ? `${format.count(value.packets_max)} packets, ${format.bytes(value.bytes_max)}`
    : `at most ${format.count(value.packets_max)} packets, ${format.bytes(value.bytes_max)}`;
  if (!mayExtract.value) return <section class="card packets" aria-label="Packets"><p class="none">This token shows conversations, not their packets.</p></section>;
  return (
    <section class="card packets" aria-label="Packets">
      <p class="much">{problem === null ? much : problem.detail ?? problem.title}</p>
      <Ways parameters={asked.value} disabled={value === null || value.packets_max === 0 || problem !== null} />
    </section>
  );
}

/** Ways to the packets of a query. */
export function Ways({ parameters, disabled }: { parameters: string; disabled: boolean }) {
  const pcapng = packetsAddress(parameters, "pcapng");
  if (!mayExtract.value) return null;
  const token = hasSession.value ? `-H "Authorization: Bearer $TOKEN" ` : "";
  return (
    <span class="ways">
      <Download name="Download pcap" kind="primary" address={disabled ? null : packetsAddress(parameters, "pcap")} />
      <Download name="pcapng" kind="" address={disabled ? null : pcapng} />
      <Copy name="Copy Wireshark command" text={() => `curl -sS ${token}'${new URL(pcapng, location.href).href}' | wireshark -k -i -`} />
    </span>
  );
}

function Download({ name, kind, address }: { name: string; kind: string; address: string | null }) {
  if (address === null) return <a class={`button off ${kind}`} aria-disabled="true" role="link">{name}</a>;
  return <a class={`button ${kind}`} href={address} download="">{name}</a>;
}

/** A button that copies a text. */
export function Copy({ name, text }: { name: string; text: () => string }) {
  const done = useSignal<"" | "Copied" | "Copy it by hand">("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      done.value = "Copied";
    } catch {
      // Without TLS, browsers give the clipboard to loopback alone.
      prompt(name, text());
    }
    setTimeout(() => { done.value = ""; }, COPIED_FOR_MS);
  };
  return <button type="button" title={text()} onClick={copy}>{done.value || name}</button>;
}
