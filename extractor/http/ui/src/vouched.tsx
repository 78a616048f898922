// A download with its manifest: what the file was when it was sent, what was asked, and how complete it is; signed where the service has a key.

import { useSignal } from "@preact/signals";
import { manifestAddress, manifestOf, packetsAddress } from "./api";

const NAME_BYTES = 16;

interface Vouching { of: string; text: string; bad: boolean; files: { name: string; address: string }[] }

/** A name that nobody else has. */
const newName = (): string => [...crypto.getRandomValues(new Uint8Array(NAME_BYTES))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Has the browser save what is at an address. */
function save(address: string): void {
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  link.click();
}

export function Vouched({ disabled }: { disabled: boolean }) {
  const said = useSignal<Vouching | null>(null);
  const start = async () => {
    const name = newName();
    const of = packetsAddress("pcapng");
    said.value = { of, text: "The manifest follows when all packets have been sent.", bad: false, files: [] };
    save(`${of}&manifest=${name}`);
    const { manifest, isSigned, problem } = await manifestOf(name);
    if (manifest === null) {
      said.value = { of, text: problem ?? "", bad: true, files: [] };
      return;
    }
    const files = [{ name: `${manifest.file}.manifest.json`, address: manifestAddress(name) }];
    if (isSigned) files.push({ name: `${manifest.file}.manifest.json.sig`, address: `${manifestAddress(name)}/signature` });
    files.forEach((file) => save(file.address));
    said.value = { of, text: `${isSigned ? "Signed" : "Not signed: the service has no key"}; SHA-256 ${manifest.sha256}.${manifest.is_complete ? "" : " The answer is not complete: the manifest says what is missing."}`, bad: false, files };
  };
  return (
    <>
      <button type="button" disabled={disabled} title="The packets (pcapng), and beside them their SHA-256, the query and its completeness, as evidence" onClick={() => { void start(); }}>Download with manifest</button>
      {said.value?.of === packetsAddress("pcapng") && (
        <p class={said.value.bad ? "vouched bad" : "vouched"} role="status">
          {said.value.files.map(({ name, address }) => <><a key={name} href={address} download="">{name}</a>{" "}</>)}{said.value.text}
        </p>
      )}
    </>
  );
}
