// Bytes as a hex dump, with some of them marked.

const HEX_BYTES_A_LINE = 16;

interface Range { from: number; to: number }
interface HexProps {
  bytes: Uint8Array;
  /** Bytes that are marked. */
  mark: Range | null;
  /** Told which byte was clicked. */
  pick: ((at: number) => void) | null;
}

const digits = (byte: number): string => byte.toString(16).padStart(2, "0");
const letter = (byte: number): string => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".");

/** A line's text in up to three parts, of which the middle one is marked. */
function parts(line: number[], start: number, mark: Range | null, join: (bytes: number[]) => string) {
  const from = Math.min(Math.max((mark?.from ?? 0) - start, 0), line.length);
  const to = Math.min(Math.max((mark?.to ?? 0) - start, from), line.length);
  return [line.slice(0, from), line.slice(from, to), line.slice(to)].map(join) as [string, string, string];
}

export function Hex({ bytes, mark, pick }: HexProps) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += HEX_BYTES_A_LINE) {
    const line = [...bytes.subarray(start, start + HEX_BYTES_A_LINE)];
    const [before, marked, behind] = parts(line, start, mark, (some) => some.map(digits).join(" "));
    const [left, middle, right] = parts(line, start, mark, (some) => some.map(letter).join(""));
    const gap = " ".repeat((HEX_BYTES_A_LINE - line.length) * 3 + 2);
    lines.push(
      <span key={start} data-at={start}>
        {`${start.toString(16).padStart(6, "0")}  `}{before}{before !== "" && (marked !== "" || behind !== "") && " "}
        {marked !== "" && <mark>{marked}</mark>}{marked !== "" && behind !== "" && " "}{behind}{gap}
        {left}{middle !== "" && <mark>{middle}</mark>}{right}{"\n"}
      </span>,
    );
  }
  return <div class="chunks" tabIndex={0} role="region" aria-label="Bytes"><pre class="bytes" onClick={pick === null ? undefined : (event) => picked(event, pick)}>{lines}</pre></div>;
}

/** The byte under the pointer, by the letter of its line. */
function picked(event: MouseEvent, pick: (at: number) => void): void {
  const line = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-at]") : null;
  const caret = document.caretRangeFromPoint?.(event.clientX, event.clientY);
  if (line === null || caret === null || caret === undefined) return;
  const upTo = document.createRange();
  upTo.setStart(line, 0);
  upTo.setEnd(caret.startContainer, caret.startOffset);
  const column = upTo.toString().length - "000000  ".length;
  const at = Math.floor(column / 3);
  if (column >= 0 && at < HEX_BYTES_A_LINE) pick(Number(line.dataset["at"]) + at);
}

/** The same as text. */
export function hex(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += HEX_BYTES_A_LINE) {
    const line = [...bytes.subarray(at, at + HEX_BYTES_A_LINE)];
    lines.push(`${at.toString(16).padStart(6, "0")}  ${line.map(digits).join(" ").padEnd(HEX_BYTES_A_LINE * 3)} ${line.map(letter).join("")}`);
  }
  return lines.join("\n");
}
