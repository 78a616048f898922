//! A case of its own: the packets of a query, with their manifest; the segments that they come from are not held.

use std::io::{self, BufWriter, Write};

use netrewind_extractor::{
    Answer, Asked, Control, Estimate, ExtractError, Extractor, PcapSink, PcapngSink, Query, Sink, SinkError,
};
use netrewind_store::clock::Clock;
use netrewind_store::files::StoreFile;
use netrewind_store::hold::{CaseFormat, CasePackets, HOLD_VERSION, HoldHead};
use netrewind_store::store::{CaseFiles, CasePart, HeldAccount, StoreListing, StoreWriter};

use super::error::HoldError;
use super::make::HoldRequest;
use super::room::{bytes_left, check_budget, check_case, free_bytes, wait_for_room};
use crate::evidence::hash::{HashTally, HashingWriter};
use crate::evidence::keys::SignerKey;
use crate::evidence::manifest::{CaseFacts, EvidenceManifest, EvidenceSource};

/// Bytes of packets that are gathered before they are written.
const OUTPUT_BUFFER_BYTES: usize = 1 << 18;
/// Bytes of a record beside its packet: of an enhanced packet block of pcapng, with options and padding, at most.
const PCAP_RECORD_BYTES: u64 = 16;
const PCAPNG_RECORD_BYTES_MAX: u64 = 96;
/// Attempts to write packets of which there are more than was estimated: more are being recorded.
const TRIES_MAX: usize = 4;
/// Bytes that are left for the manifest.
const MANIFEST_BYTES: u64 = 256 << 10;
/// Bytes of a file beside its records, and of its manifest.
const BESIDE_BYTES: u64 = 1 << 20;
/// Said of a file that has no room for them.
const SECRETS_LEFT_OUT: &str = "the TLS secrets that the store has for this time are not in the file: pcap has no room for them, and --format pcapng holds them with the packets";

/// Packets to be held.
#[derive(Clone, Copy, Debug)]
pub struct PacketsRequest<'a> {
    /// The packets.
    pub query: &'a Query,
    /// Form of the file.
    pub format: CaseFormat,
    /// The key that signs the manifest, if it is to be signed.
    pub signer: Option<&'a SignerKey>,
}

/// Writes the packets of a query, and their manifest, into the folder of cases. Returns the answer, and the bytes of the file.
pub fn hold_packets(
    extractor: &Extractor,
    clock: &dyn Clock,
    request: &HoldRequest,
    packets: PacketsRequest<'_>,
    control: &mut dyn Control,
) -> Result<(Answer, u64), HoldError> {
    let files = CaseFiles::of(extractor.store());
    files.prepare()?;
    // What could decrypt the packets would expire with their segments.
    let query = &Query { secrets: true, ..packets.query.clone() };
    let packets = PacketsRequest { query, ..packets };
    let asked = Asked { from: query.from, to: query.to };
    let mut least_bytes = 0;
    for _ in 0..TRIES_MAX {
        let estimate = extractor.estimate_with(query, control)?;
        if estimate.packets_max == 0 {
            return Err(HoldError::NothingAccepted(asked));
        }
        // More may have been recorded since, in a range that ends now.
        let secrets_bytes = match packets.format {
            CaseFormat::Pcap => 0,
            CaseFormat::Pcapng => extractor.secrets_bytes(query),
        };
        let wanted_bytes = most(&estimate, packets.format).saturating_add(secrets_bytes).max(least_bytes);
        let mut head = HoldHead {
            hold: request.case.clone(),
            version: HOLD_VERSION,
            made: clock.now().wall,
            from: query.from,
            to: query.to,
            by: request.by.clone(),
            note: request.note.clone(),
            segments: 0,
            packets: None,
        };
        let reserved_bytes = reserve(extractor, &mut head, packets.format, wanted_bytes)?;
        match write(extractor, clock, &head, packets, reserved_bytes, control) {
            Ok((answer, bytes)) if answer.packets > 0 => {
                head.packets = Some(CasePackets { format: packets.format, reserved_bytes: 0 });
                files.write(&head, &[])?;
                return Ok((answer, bytes));
            }
            failed => {
                // What went wrong first is told.
                let _ = files.remove(&request.case);
                match failed {
                    Ok(_) => return Err(HoldError::NothingAccepted(asked)),
                    Err(error) if !is_too_large(&error) => return Err(error),
                    Err(_) => {}
                }
            }
        }
        if reserved_bytes < wanted_bytes {
            check_budget(&files, &account(extractor)?, wanted_bytes)?;
        }
        if StoreWriter::of(extractor.store())?.is_none() {
            return Err(HoldError::NoRoom { wanted_bytes, free_bytes: free_bytes(extractor.store())? });
        }
        least_bytes = wanted_bytes.saturating_mul(2);
    }
    Err(HoldError::NoRoomMade(least_bytes))
}

fn is_too_large(error: &HoldError) -> bool {
    let HoldError::Extract(ExtractError::Sink(SinkError::Io(error))) = error else { return false };
    error.kind() == io::ErrorKind::FileTooLarge
}

fn account(extractor: &Extractor) -> Result<HeldAccount, HoldError> {
    let store = extractor.store();
    Ok(CaseFiles::of(store).account(&StoreListing::of(store).segments)?)
}

/// Writes the hold, with as much room for its packets as holds may still take, and returns that.
fn reserve(
    extractor: &Extractor,
    head: &mut HoldHead,
    format: CaseFormat,
    wanted_bytes: u64,
) -> Result<u64, HoldError> {
    let files = CaseFiles::of(extractor.store());
    let _turn = files.lock()?;
    check_case(&files, &head.hold, &head.by, &head.note)?;
    let account = account(extractor)?;
    // The estimate is an upper bound: if there is less, whether that suffices shows when they are written.
    let left = bytes_left(&files, &account)?;
    if left <= BESIDE_BYTES {
        check_budget(&files, &account, wanted_bytes)?;
    }
    let reserved_bytes = wanted_bytes.min(left);
    head.packets = Some(CasePackets { format, reserved_bytes });
    files.write(head, &[])?;
    Ok(reserved_bytes)
}

/// Bytes that the file of an answer takes at most.
fn most(estimate: &Estimate, format: CaseFormat) -> u64 {
    let of_record = match format {
        CaseFormat::Pcap => PCAP_RECORD_BYTES,
        CaseFormat::Pcapng => PCAPNG_RECORD_BYTES_MAX,
    };
    let records = estimate.packets_max.saturating_mul(of_record);
    estimate.bytes_max.saturating_add(records).saturating_add(BESIDE_BYTES)
}

/// Writes the packets, within the room that is reserved for them, and the manifest.
fn write(
    extractor: &Extractor,
    clock: &dyn Clock,
    head: &HoldHead,
    packets: PacketsRequest<'_>,
    reserved_bytes: u64,
    control: &mut dyn Control,
) -> Result<(Answer, u64), HoldError> {
    let PacketsRequest { query, format, signer } = packets;
    let (store, case) = (extractor.store(), &head.hold);
    let files = CaseFiles::of(store);
    let bytes_max = wait_for_room(store, clock, reserved_bytes)?.saturating_sub(MANIFEST_BYTES);
    let has_secrets = extractor.secrets_bytes(query) > 0;
    let file = files.create_packets(case, format, has_secrets && format == CaseFormat::Pcapng)?;
    let tally = HashTally::default();
    let output = HashingWriter::new(CaseWriter { file: &*file, offset: 0 }, &tally, Some(bytes_max));
    let output = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, output);
    let mut sink: Box<dyn Sink + '_> = match format {
        CaseFormat::Pcap => Box::new(PcapSink::new(output)),
        CaseFormat::Pcapng => Box::new(PcapngSink::new(output)),
    };
    let mut answer = extractor.extract(query, sink.as_mut(), control)?;
    if has_secrets && format == CaseFormat::Pcap {
        answer.completeness.note(SECRETS_LEFT_OUT.to_owned());
    }
    drop(sink);
    file.sync_all().map_err(SinkError::Io)?;
    files.finish_packets(case, format)?;
    let path = files.path(case, CasePart::Packets(format));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (source, hash) = (EvidenceSource::from(store), tally.hash());
    let bytes = hash.bytes;
    let mut manifest = EvidenceManifest::of(&name, hash, clock.now().wall, source, (query, &answer), signer);
    manifest.case = Some(CaseFacts { name: case.clone(), by: head.by.clone(), note: head.note.clone() });
    let text = manifest.text();
    files.write_part(case, CasePart::Manifest(format), text.as_bytes())?;
    if let Some(signer) = signer {
        files.write_part(case, CasePart::Signature(format), &signer.sign(text.as_bytes()))?;
    }
    Ok((answer, bytes))
}

/// Writes a file of the store from its beginning on.
struct CaseWriter<'f> {
    file: &'f dyn StoreFile,
    offset: u64,
}

impl Write for CaseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
