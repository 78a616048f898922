// From what is looked at to its packets: a download, or the command that opens them in Wireshark.

import { useSignal } from "@preact/signals";
import { mayExtract, packetsAddress, status, summary, type Form } from "./api";
import * as format from "./format";
import { Hold } from "./hold";
import { hasSession } from "./session";
import type { Summary } from "./types";
import { Vouched } from "./vouched";

const COPIED_FOR_MS = 1500;

export function Packets() {
  const { value, problem } = summary.value;
  if (!mayExtract.value) return <section class="card packets" aria-label="Packets"><p class="none">This token may show conversations, but not download their packets.</p></section>;
  return (
    <section class="card packets" aria-label="Packets">
      <Ways address={packetsAddress} disabled={value === null || value.totals.packets === 0 || problem !== null} />
      <Vouched disabled={value === null || value.totals.packets === 0 || problem !== null} />
      <Hold />
      {value !== null && <Expired summary={value} />}
    </section>
  );
}

/** Conversations are known for longer than their packets are kept. */
function Expired({ summary: { series, bucket_seconds } }: { summary: Summary }) {
  const { value } = status.value;
  const kept = typeof value?.["rewind_to"] === "string" ? value["rewind_to"] : null;
  const end = (at: string) => Date.parse(at) + bucket_seconds * 1000;
  if (kept === null || !series.some((point) => point.packets > 0 && end(point.at) <= Date.parse(kept))) return null;
  return <p class="much">Packets are kept from {format.dayTime(kept)} on; earlier conversations come from the catalog.</p>;
}

/** Ways to packets. */
export function Ways({ address, disabled }: { address: (form: Form) => string; disabled: boolean }) {
  if (!mayExtract.value) return null;
  const token = hasSession.value ? `-H "Authorization: Bearer $TOKEN" ` : "";
  const command = () => `curl -sS ${token}'${quoted(new URL(address("pcapng"), location.href).href)}' | wireshark -k -i -`;
  return (
    <span class="ways">
      <Download name="Download pcap" kind="primary" address={disabled ? null : address("pcap")} />
      <Download name="pcapng" kind="" address={disabled ? null : address("pcapng")} />
      <Copy name="Copy Wireshark command" text={command} />
    </span>
  );
}

/** Between the apostrophes of a shell. */
const quoted = (text: string): string => text.replaceAll("'", "%27");

function Download({ name, kind, address }: { name: string; kind: string; address: string | null }) {
  if (address === null) return <a class={`button off ${kind}`} aria-disabled="true" role="link">{name}</a>;
  return <a class={`button ${kind}`} href={address} download="">{name}</a>;
}

/** A button that copies a text. */
export function Copy({ name, text }: { name: string; text: () => string }) {
  const done = useSignal<"" | "Copied" | "Copy it manually">("");
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
