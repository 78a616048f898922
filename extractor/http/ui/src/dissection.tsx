// A packet taken apart: its protocol tree, and its bytes, each showing the other.

import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import { dissection, hasDissector } from "./api";
import * as format from "./format";
import { Hex } from "./hex";
import type { DissectedField, PacketRow } from "./types";

/** Field whose bytes are marked. */
const chosen = signal<DissectedField | null>(null);
/** Source of bytes that is shown. */
const source = signal(0);

function choose(field: DissectedField): void {
  chosen.value = field;
  if (field.offset !== undefined) source.value = field.source;
}

const bytesOf = (digits: string): Uint8Array => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** The field with the fewest bytes that has this one, the innermost of several. */
function fieldAt(fields: readonly DissectedField[], at: number): DissectedField | null {
  let best: DissectedField | null = null;
  for (const field of fields) {
    const { offset, length } = field;
    const isThere = field.source === source.value && offset !== undefined && offset <= at && at < offset + length;
    for (const one of [isThere ? field : null, fieldAt(field.fields, at)]) {
      if (one !== null && (best === null || one.length <= best.length)) best = one;
    }
  }
  return best;
}

/** The tree and the bytes of a packet; without a dissector, the bytes alone. */
export function Dissection({ row }: { row: PacketRow }) {
  useEffect(() => { chosen.value = null; source.value = 0; }, [row.cursor]);
  const { value, problem, busy } = dissection.value;
  const isOfRow = value?.packet.cursor === row.cursor;
  const sources = isOfRow ? value.sources : [];
  const own = row.bytes === undefined ? null : bytesOf(row.bytes);
  const shown = sources[source.value];
  const bytes = source.value > 0 && shown !== undefined ? bytesOf(shown.bytes) : own;
  const field = chosen.value;
  const mark = field !== null && field.offset !== undefined && field.source === source.value ? { from: field.offset, to: field.offset + field.length } : null;
  return (
    <>
      {hasDissector.value && (
        <section class="dissection" aria-busy={busy}>
          <h3>Protocols {isOfRow && value.given_packets > 1 && <small>frame numbers count the {format.count(value.given_packets)} packets of this conversation that were looked at</small>}</h3>
          {problem !== null && <p class="problem" role="alert">{problem.detail ?? problem.title}</p>}
          {busy && !isOfRow && <p class="empty">Taking it apart…</p>}
          {isOfRow && <div class="tree">{value.tree.map((layer, at) => <FieldView key={at} field={layer} isLayer />)}</div>}
          {isOfRow && value.is_cut && <p class="empty">There is more than is shown here.</p>}
        </section>
      )}
      {sources.length > 1 && (
        <p class="choice sources" role="group" aria-label="Bytes of">
          {sources.map(({ name }, at) => <button type="button" key={name} aria-pressed={source.value === at} onClick={() => { source.value = at; }}>{name}</button>)}
        </p>
      )}
      {bytes !== null && <Hex bytes={bytes} mark={mark} pick={isOfRow ? (at) => { const found = fieldAt(value.tree, at); if (found !== null) chosen.value = found; } : null} />}
      {isOfRow && <p class="chosen" aria-live="polite">{field === null ? "Choose a field to see its bytes, or a byte to see its field." : `${field.label}${field.filter === undefined ? "" : `  ·  ${field.filter}`}`}</p>}
    </>
  );
}

function FieldView({ field, isLayer = false }: { field: DissectedField; isLayer?: boolean }) {
  const isChosen = chosen.value === field;
  const name = [isChosen ? "chosen-field" : "", field.is_generated ? "generated" : "", field.severity === undefined ? "" : `severity-${field.severity.toLowerCase()}`].filter(Boolean).join(" ");
  const words = field.severity === undefined ? field.label : `${field.label}`;
  if (field.fields.length === 0) {
    return <button type="button" class={`field ${name}`} aria-pressed={isChosen} title={field.filter} onClick={() => choose(field)}>{words}</button>;
  }
  return (
    <details class={isLayer ? "layer" : ""}>
      <summary class={name} title={field.filter} onClick={() => choose(field)}>{words}</summary>
      {field.fields.map((part, at) => <FieldView key={at} field={part} />)}
    </details>
  );
}
