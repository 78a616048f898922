// Bytes as a hex dump.

const HEX_BYTES_A_LINE = 16;

export function hex(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += HEX_BYTES_A_LINE) {
    const line = [...bytes.subarray(at, at + HEX_BYTES_A_LINE)];
    const digits = line.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(HEX_BYTES_A_LINE * 3);
    const letters = line.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits} ${letters}`);
  }
  return lines.join("\n");
}
