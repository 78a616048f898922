//! pcapng file: packets with their interfaces, the interfaces' drops, and the gaps of the answer as comments.
//!
//! Source: draft-ietf-opsawg-pcapng.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use netrewind_store::Timestamp;
use netrewind_store::layout::CAPLEN_MAX;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, RawBlock};
use pcap_file::pcapng::{PcapNgWriteError, PcapNgWriter};
use pcap_file::{DataLink, Endianness};

use super::{AnswerPacket, Preface, Sink, Wants};
use crate::answer::error::SinkError;
use crate::{Answer, Completeness, Interface};

/// Name of the writing application, for the section header.
const APPLICATION: &str = concat!("netrewind ", env!("CARGO_PKG_VERSION"));
/// The longest comment; an option of a block has at most 65,535 bytes.
const COMMENT_BYTES_MAX: usize = 60_000;
/// Type and both lengths around a block's body.
const BLOCK_FRAME_BYTES: u32 = 12;
/// Type of a block with decryption secrets (draft-ietf-opsawg-pcapng, section 4.7).
const DECRYPTION_SECRETS_BLOCK: u32 = 10;
/// Type of secrets: a TLS key log, `TLSK`.
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// Bytes of TLS secrets in a file; Wireshark reads blocks of up to 16 MiB.
pub const SECRETS_BYTES_MAX: u32 = 16_777_152;

/// Writes a pcapng file. The output should be buffered.
pub struct PcapngSink<W: Write> {
    state: PcapngState<W>,
    interfaces: Vec<Interface>,
    /// The number in the file of each of `interfaces`, once it has one.
    ids: Vec<Option<u32>>,
    described: u32,
    /// The asker must not learn of interfaces without packets in the answer.
    is_restricted: bool,
    body: Vec<u8>,
    /// TLS secrets for the reader; none where empty.
    secrets: Vec<u8>,
}

enum PcapngState<W: Write> {
    Waiting(W),
    Writing(PcapNgWriter<W>),
    Ended,
}

impl<W: Write> PcapngSink<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self {
            state: PcapngState::Waiting(output),
            interfaces: Vec::new(),
            ids: Vec::new(),
            described: 0,
            is_restricted: false,
            body: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Writes TLS secrets before the packets, for whoever reads them to decrypt: lines as SSLKEYLOGFILE has them, at most
    /// [`SECRETS_BYTES_MAX`] bytes.
    #[must_use]
    pub fn with_secrets(self, secrets: Vec<u8>) -> Self {
        Self { secrets, ..self }
    }

    fn write_secrets(&mut self, secrets: &[u8]) -> Result<(), SinkError> {
        let too_long = || SinkError::Unwritable("the TLS secrets are too long for a pcapng block".into());
        if secrets.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(secrets.len()).ok().filter(|length| *length <= SECRETS_BYTES_MAX);
        let length = length.ok_or_else(too_long)?;
        let mut body = [TLS_KEY_LOG.to_le_bytes(), length.to_le_bytes()].concat();
        body.extend_from_slice(secrets);
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len()).map_err(|_| too_long())? + BLOCK_FRAME_BYTES;
        let block = RawBlock {
            type_: DECRYPTION_SECRETS_BLOCK,
            initial_len: length,
            body: Cow::Owned(body),
            trailer_len: length,
        };
        self.writer()?.write_raw_block(&block).map_err(failed)?;
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut PcapNgWriter<W>, SinkError> {
        match &mut self.state {
            PcapngState::Writing(writer) => Ok(writer),
            _ => Err(SinkError::Unwritable("the pcapng file has not begun, or has ended".into())),
        }
    }

    /// The interface's number in the file; it is described there when it is first needed.
    fn id(&mut self, interface: u32) -> Result<u32, SinkError> {
        let at = interface as usize;
        if let Some(Some(id)) = self.ids.get(at) {
            return Ok(*id);
        }
        let described = self.interfaces.get(at).cloned();
        let unknown = || SinkError::Unwritable(format!("the answer has no interface {interface}"));
        let block = describe(&described.ok_or_else(unknown)?);
        self.writer()?.write_pcapng_block(block).map_err(failed)?;
        let id = self.described;
        self.described += 1;
        self.ids[at] = Some(id);
        Ok(id)
    }

    fn write_statistics(
        &mut self,
        answer: &Answer,
        at: usize,
        comment: Option<String>,
    ) -> Result<(), SinkError> {
        let interface_id = self.id(u32::try_from(at).unwrap_or(u32::MAX))?;
        let account = answer.interfaces.get(at).copied().unwrap_or_default();
        let mut options = Vec::new();
        options.extend(
            comment.map(|text| InterfaceStatisticsOption::Common(CommonOption::Comment(text.into()))),
        );
        options
            .extend(account.first.map(|first| InterfaceStatisticsOption::IsbStartTime(since_epoch(first))));
        options.extend(account.last.map(|last| InterfaceStatisticsOption::IsbEndTime(since_epoch(last))));
        if let Some(received) = account.received {
            options.push(InterfaceStatisticsOption::IsbIfRecv(received));
        }
        if account.received.is_some() || account.dropped.total() > 0 {
            options.push(InterfaceStatisticsOption::IsbIfDrop(account.dropped.total()));
        }
        let timestamp = since_epoch(account.last.or(answer.completeness.covered_to()).unwrap_or_default());
        let block = InterfaceStatisticsBlock { interface_id, timestamp, options };
        self.writer()?.write_pcapng_block(block).map_err(failed)?;
        Ok(())
    }
}

impl<W: Write> Sink for PcapngSink<W> {
    fn wants(&self) -> Wants {
        Wants { packets: true, interfaces: true, secrets: true }
    }

    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        let PcapngState::Waiting(output) = std::mem::replace(&mut self.state, PcapngState::Ended) else {
            return Err(SinkError::Unwritable("a pcapng file begins once".into()));
        };
        let comment = CommonOption::Comment(comment("Known before reading", preface.completeness).into());
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::Common(comment),
                SectionHeaderOption::UserApplication(APPLICATION.into()),
            ],
            ..SectionHeaderBlock::default()
        };
        self.state =
            PcapngState::Writing(PcapNgWriter::with_section_header(output, section).map_err(failed)?);
        let secrets = std::mem::take(&mut self.secrets);
        self.write_secrets(&secrets)?;
        self.interfaces = preface.interfaces.to_vec();
        self.is_restricted = preface.query.is_restricted();
        if self.interfaces.is_empty() {
            // The statistics at the end need an interface to stand on.
            let link_type = preface.possible_link_types.first().copied();
            let link_type = link_type.unwrap_or(netrewind_store::LinkType::ETHERNET);
            self.interfaces.push(Interface { name: String::new(), description: None, link_type });
        }
        self.ids = vec![None; self.interfaces.len()];
        Ok(())
    }

    fn secrets(&mut self, key_log: &[u8]) -> Result<(), SinkError> {
        self.write_secrets(key_log)
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let id = self.id(packet.interface)?;
        let mut body = std::mem::take(&mut self.body);
        let written = lay_out(&mut body, id, packet).and_then(|length| {
            let block = RawBlock {
                type_: ENHANCED_PACKET_BLOCK,
                initial_len: length,
                body: Cow::Borrowed(&body),
                trailer_len: length,
            };
            self.writer()?.write_raw_block(&block).map_err(failed)
        });
        self.body = body;
        written.map(|_| ())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(self.writer()?.get_mut().flush()?)
    }

    fn know_interfaces(&mut self, interfaces: &[Interface]) {
        self.interfaces = interfaces.to_vec();
        self.ids.resize(self.interfaces.len(), None);
    }

    fn finish(&mut self, answer: &Answer) -> Result<(), SinkError> {
        let described: Vec<usize> = (0..self.ids.len()).filter(|&at| self.ids[at].is_some()).collect();
        let described = if described.is_empty() { vec![0] } else { described };
        if self.described == 0 && self.is_restricted {
            // Nothing came from it as far as the asker may know.
            self.interfaces.truncate(1);
            for interface in &mut self.interfaces {
                (interface.name, interface.description) = (String::new(), None);
            }
        }
        let mut final_comment = Some(comment("Known after reading", &answer.completeness));
        for at in described {
            self.write_statistics(answer, at, final_comment.take())?;
        }
        self.writer()?.get_mut().flush()?;
        self.state = PcapngState::Ended;
        Ok(())
    }
}

/// The body of an enhanced packet block: interface, time (high, low), caplen, len, packet, padding. Laid out here because
/// the library refuses a packet whose wire length is below its captured length, which real captures have. Gives the length of
/// the whole block.
fn lay_out(body: &mut Vec<u8>, interface_id: u32, packet: &AnswerPacket<'_>) -> Result<u32, SinkError> {
    debug_assert!(packet.header.caplen <= CAPLEN_MAX);
    let ns = packet.header.timestamp().ns();
    body.clear();
    body.extend_from_slice(&interface_id.to_le_bytes());
    body.extend_from_slice(&((ns >> 32) as u32).to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    body.extend_from_slice(&(ns as u32).to_le_bytes());
    body.extend_from_slice(&packet.header.caplen.to_le_bytes());
    body.extend_from_slice(&packet.header.len.to_le_bytes());
    body.extend_from_slice(packet.bytes);
    body.resize(body.len().next_multiple_of(4), 0);
    u32::try_from(body.len())
        .ok()
        .and_then(|length| length.checked_add(BLOCK_FRAME_BYTES))
        .ok_or_else(|| SinkError::Unwritable("a packet is too long for a pcapng block".into()))
}

fn describe(interface: &Interface) -> InterfaceDescriptionBlock<'static> {
    let mut options = Vec::new();
    if !interface.name.is_empty() {
        options.push(InterfaceDescriptionOption::IfName(interface.name.clone().into()));
    }
    if let Some(description) = &interface.description {
        options.push(InterfaceDescriptionOption::IfDescription(description.clone().into()));
    }
    options.push(InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO));
    InterfaceDescriptionBlock {
        linktype: DataLink::from(u32::from(interface.link_type.0)),
        snaplen: CAPLEN_MAX,
        options,
    }
}

fn comment(title: &str, completeness: &Completeness) -> String {
    let mut text = title.to_owned() + ":";
    let lines = completeness.lines();
    for (number, line) in lines.iter().enumerate() {
        if text.len() + line.len() >= COMMENT_BYTES_MAX {
            _ = write!(text, "\n{} more lines are left out here", lines.len() - number);
            break;
        }
        text.push('\n');
        text.push_str(line);
    }
    text
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_nanos(at.ns())
}

fn failed(error: PcapNgWriteError) -> SinkError {
    match error {
        PcapNgWriteError::Io(error) => error.into(),
        other => SinkError::Unwritable(format!("the pcapng file cannot be written: {other}")),
    }
}
