//! Capture files, and streams of the same formats, as a source of packets: pcap and pcapng, plain or compressed.
//!
//! The packets are those of `tcpdump -r`: same packets, bytes, lengths and nanoseconds, up to where it stops. Beyond that, a
//! pcapng file may change link type, snaplen and byte order between interfaces and sections, and may hold packets longer than its
//! snaplen. Supported are:
//!
//! * pcap of both byte orders, in microseconds and nanoseconds, versions 2.0 to 2.4, and the modified format of old Linux
//!   systems;
//! * pcapng of both byte orders, with enhanced, simple and obsolete packet blocks, and every clock;
//! * either within gzip or zstd, recognized by their first bytes, of several members or frames;
//! * several of these one after the other, as a capture that was started again into the same pipe, or `cat a.pcap b.pcapng`.
//!
//! If one capture follows another, its header stands in the place of a record. The two are distinguished by reading each as
//! the other: a pcap header read as a record has no bytes, captured or on the wire, and a pcapng header claims a packet of about
//! a billion bytes; read as a block of pcapng, a pcap header has a length that no block has. Zeros in the place of a record for
//! at least [`ZEROS_MIN`] bytes are damage: space that was reserved and never written. Fewer are empty packets, as in libpcap.
//!
//! **Invariant:** memory is bounded whatever the file says: a buffer of at most twice the longest record ([`CAPLEN_MAX`](netrewind_store::layout::CAPLEN_MAX) in pcap,
//! 16 MiB in pcapng, more only for D-Bus, whose messages may have 128 MiB), zstd's window (128 MiB at most), and the interfaces
//! of a section (65,536 at most). Nothing grows before the bytes that ask for it have arrived.

mod byte_order;
mod halt;
mod input;
mod left_out;
mod link_type;
mod located;
mod pcap;
mod pcapng;
mod pseudo_header;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use netrewind_store::layout::FILE_HEADER_BYTES;
use rustix::event::Timespec;
use rustix::fs::OFlags;

pub use self::left_out::LeftOut;
pub use self::located::InterfaceDescription;

use self::halt::Halt;
use self::input::{Input, WhenReady};
use self::left_out::LeftOutCounts;
use self::located::Located;
use self::pcap::PcapReader;
pub use self::pcap::ZEROS_MIN;
use self::pcapng::{NextBlock, PcapngReader};
use super::{Packet, Received, ReportedDrops, Source, SourceCounters, SourceError};

/// Limit on the packets of one call.
pub const PACKETS_PER_CALL_MAX: u64 = 4096;
/// Bytes after which one call hands over no more packets.
pub const BYTES_PER_CALL: u64 = 4 * 1024 * 1024;
/// Bytes that identify the format.
const FORMAT_BYTES: usize = 12;
/// Bytes that show that another capture may begin.
const MAGIC_BYTES: usize = 4;
/// A capture file that is being read.
pub struct CaptureFile {
    name: String,
    input: Input,
    /// A duplicate of the file, pipe or socket, to wait for its next bytes.
    waitable: Option<OwnedFd>,
    format: CaptureFormat,
    current: Option<Located>,
    /// Name after which interfaces without one are numbered; those of streams, which come and go, are not.
    numbering: Option<String>,
    /// Blocks other than packets found so far.
    tally: LeftOutCounts,
    /// The error that ended the reading, kept until the packets before it are handed over.
    failure: Option<SourceError>,
    ended: bool,
    handed_over: u64,
    cut: u64,
}

enum CaptureFormat {
    Unknown,
    Pcap(PcapReader),
    Pcapng(PcapngReader),
}

/// Result of a step to the next packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advanced {
    /// There is a current packet.
    Packet,
    /// It has not arrived yet.
    Quiet,
    /// There is no further packet.
    End,
}

impl CaptureFile {
    /// Opens a file or a named pipe, once. Faults of its contents are found when it is read. Does not wait for a pipe's writer.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let opened = OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
        let file = opened.map_err(|source| SourceError::System {
            what: format!("{name}: cannot be opened for reading"),
            source,
        })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let reason = "it is a directory: name the files in it".to_owned();
            return Err(SourceError::Unsupported { name, reason });
        }
        let mut capture = Self::from_stream(name.clone(), file)?;
        capture.numbering = Some(name);
        Ok(capture)
    }

    /// Reads from a pipe, a socket or standard input, and waits no longer than each call allows.
    pub fn from_stream<R>(name: impl Into<String>, stream: R) -> Result<Self, SourceError>
    where
        R: Read + AsFd + Send + 'static,
    {
        let name = name.into();
        let waitable = stream.as_fd().try_clone_to_owned().map_err(|source| SourceError::System {
            what: format!("{name}: no descriptor to wait on"),
            source,
        })?;
        let mut file = Self::from_reader(name, WhenReady(stream));
        file.waitable = Some(waitable);
        Ok(file)
    }

    /// Reads from any reader. One that has nothing yet may return [`io::ErrorKind::WouldBlock`] or `TimedOut`, which the caller
    /// sees as [`Received::Quiet`]; any other reader is waited for, whatever the patience.
    pub fn from_reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        Self {
            name: name.into(),
            input: Input::new(Box::new(reader)),
            waitable: None,
            format: CaptureFormat::Unknown,
            current: None,
            numbering: None,
            tally: LeftOutCounts::default(),
            failure: None,
            ended: false,
            handed_over: 0,
            cut: 0,
        }
    }

    /// Keeps the TLS key logs that it finds, for [`Source::take_secrets`], together with this one.
    #[must_use]
    pub fn keeping_secrets(mut self, key_log: &[u8]) -> Self {
        self.tally.key_log = Some(Vec::new());
        if !key_log.is_empty() {
            self.tally.add_key_log(key_log);
        }
        self
    }

    /// The interfaces described so far in the current section.
    pub fn interfaces(&self) -> &[InterfaceDescription] {
        match &self.format {
            CaptureFormat::Unknown => &[],
            CaptureFormat::Pcap(reader) => reader.interfaces(),
            CaptureFormat::Pcapng(reader) => reader.interfaces(),
        }
    }

    /// Packets handed over that were cut to [`CAPLEN_MAX`](netrewind_store::layout::CAPLEN_MAX), the most that a segment can hold. Their original length is kept.
    pub fn packets_cut(&self) -> u64 {
        self.cut
    }

    /// True if the header of a capture has been read.
    pub fn has_begun(&self) -> bool {
        !matches!(self.format, CaptureFormat::Unknown)
    }

    /// [`Source::receive`], with the interface that each packet came from.
    pub fn receive_with_interface(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(&InterfaceDescription, Packet<'_>),
    ) -> Result<Received, SourceError> {
        let (mut packets, mut bytes) = (0, 0);
        let mut patience = patience;
        while packets < PACKETS_PER_CALL_MAX && bytes < BYTES_PER_CALL {
            match self.advance(patience) {
                Ok(Advanced::Packet) => {}
                Ok(_) if packets > 0 => break,
                Ok(Advanced::Quiet) => return Ok(Received::Quiet),
                Ok(Advanced::End) => return Ok(Received::End),
                Err(error) if packets > 0 => {
                    self.failure = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            if let Some((interface, packet)) = self.current() {
                bytes += u64::from(packet.header.caplen);
                take(interface, packet);
            }
            packets += 1;
            patience = Duration::ZERO;
            self.release();
        }
        Ok(Received::Packets(packets))
    }

    /// Makes the next packet the current one, unless there is one, waiting at most `patience`.
    pub(super) fn advance(&mut self, patience: Duration) -> Result<Advanced, SourceError> {
        if self.current.is_some() {
            return Ok(Advanced::Packet);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.ended {
            return Ok(Advanced::End);
        }
        let mut step = self.step();
        if matches!(step, Err(Halt::Pending)) && !patience.is_zero() {
            match self.wait(patience) {
                Ok(true) => step = self.step(),
                Ok(false) => {}
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        match step {
            Ok(Some(located)) => {
                self.current = Some(located);
                Ok(Advanced::Packet)
            }
            Ok(None) => {
                self.ended = true;
                Ok(Advanced::End)
            }
            Err(Halt::Pending) => Ok(Advanced::Quiet),
            Err(halt) => {
                self.ended = true;
                Err(self.explain(halt))
            }
        }
    }

    /// The current packet, and the interface that it came from.
    pub(super) fn current(&self) -> Option<(&InterfaceDescription, Packet<'_>)> {
        let located = self.current.as_ref()?;
        let interface = self.interfaces().get(located.interface)?;
        let head = self.input.taken(located.packet.clone());
        let packet = Packet {
            header: located.header,
            link_type: interface.link_type,
            head,
            tag: None,
            tail: &[],
            interface: interface.known_as.as_ref(),
        };
        Some((interface, packet))
    }

    /// Releases the current packet, which was handed over.
    pub(super) fn release(&mut self) {
        if let Some(located) = self.current.take() {
            self.handed_over += 1;
            self.cut += u64::from(located.cut);
        }
    }

    fn step(&mut self) -> Result<Option<Located>, Halt> {
        if self.begins_another()? {
            self.format = recognize(&mut self.input, self.numbering.as_deref(), &mut self.tally)?;
        }
        loop {
            let found = match &mut self.format {
                CaptureFormat::Unknown => Ok(None),
                CaptureFormat::Pcap(reader) => reader.next(&mut self.input),
                CaptureFormat::Pcapng(reader) => match reader.next(&mut self.input, &mut self.tally)? {
                    // Another capture may begin behind each block.
                    NextBlock::Block if self.begins_another()? => {
                        self.format = recognize(&mut self.input, self.numbering.as_deref(), &mut self.tally)?;
                        continue;
                    }
                    NextBlock::Block => continue,
                    NextBlock::Packet(located) => Ok(Some(located)),
                    NextBlock::End => Ok(None),
                },
            };
            return found;
        }
    }

    /// True if a capture begins here: at the beginning, or behind a record of another.
    fn begins_another(&mut self) -> Result<bool, Halt> {
        if matches!(self.format, CaptureFormat::Unknown) {
            return Ok(true);
        }
        let begun = self.input.peek(MAGIC_BYTES)?;
        if pcap::is_pcap(begun) {
            return Ok(pcap::is_header(self.input.peek(FILE_HEADER_BYTES)?));
        }
        // Within pcapng a further section is a block as any other.
        let is_section = matches!(self.format, CaptureFormat::Pcap(_)) && pcapng::is_pcapng(begun);
        Ok(is_section && pcapng::is_section(self.input.peek(FORMAT_BYTES)?))
    }

    fn wait(&self, patience: Duration) -> Result<bool, SourceError> {
        let Some(waitable) = &self.waitable else { return Ok(false) };
        let patience = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        input::wait_until_readable(waitable, patience).map_err(|source| SourceError::System {
            what: format!("{}: waiting for bytes", self.name),
            source,
        })
    }

    fn explain(&self, halt: Halt) -> SourceError {
        let name = self.name.clone();
        match halt {
            Halt::Damaged { offset, reason } => SourceError::Damaged { name, offset, reason },
            Halt::Unsupported(reason) => SourceError::Unsupported { name, reason },
            Halt::System(source) => SourceError::System { what: format!("{name}: cannot be read"), source },
            Halt::Pending => SourceError::System {
                what: format!("{name}: not ready"),
                source: io::ErrorKind::WouldBlock.into(),
            },
        }
    }
}

impl Source for CaptureFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError> {
        self.receive_with_interface(patience, &mut |_, packet| take(packet))
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn take_reported_drops(&mut self) -> Vec<ReportedDrops> {
        std::mem::take(&mut self.tally.drops)
    }

    fn take_secrets(&mut self) -> Vec<u8> {
        self.tally.key_log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn left_out(&self) -> LeftOut {
        self.tally.left_out
    }

    /// A file drops nothing.
    fn counters(&mut self) -> Result<SourceCounters, SourceError> {
        Ok(SourceCounters { received: self.handed_over, dropped: 0 })
    }
}

fn recognize(
    input: &mut Input,
    file: Option<&str>,
    tally: &mut LeftOutCounts,
) -> Result<CaptureFormat, Halt> {
    let begun = input.peek(FORMAT_BYTES)?;
    if pcap::is_pcap(begun) {
        PcapReader::open(input).map(CaptureFormat::Pcap)
    } else if pcapng::is_pcapng(begun) {
        PcapngReader::open(input, file, tally).map(CaptureFormat::Pcapng)
    } else {
        Err(Halt::Unsupported(refusal(begun)))
    }
}

/// Message for a file that is no capture, with the remedy.
fn refusal(begun: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 10] = [
        (b"\xfd7zXZ\0", "an xz archive: decompress it first (xz -dc FILE | ...)"),
        (b"BZh", "a bzip2 archive: decompress it first (bzip2 -dc FILE | ...)"),
        (b"\x04\x22\x4d\x18", "an lz4 archive: decompress it first (lz4 -dc FILE | ...)"),
        (b"PK\x03\x04", "a zip archive: unpack it first"),
        (b"\x1f\x8b", "compressed twice: decompress it once"),
        (b"\x28\xb5\x2f\xfd", "compressed twice: decompress it once"),
        (b"snoop\0", "a snoop capture: convert it first (editcap -F pcap FILE OUT.pcap)"),
        (b"btsnoop\0", "a btsnoop capture: convert it first (editcap -F pcapng FILE OUT.pcapng)"),
        (b"GMBU", "a Network Monitor capture: convert it first (editcap -F pcap FILE OUT.pcap)"),
        (b"RTSS", "a Network Monitor capture: convert it first (editcap -F pcap FILE OUT.pcap)"),
    ];
    if begun.is_empty() {
        return "it is empty, without even a file header: was it still being written?".into();
    }
    let known = KNOWN.iter().find(|(magic, _)| begun.starts_with(magic)).map(|(_, what)| *what);
    known.map_or_else(
        || {
            "it is not a capture file: netrewind reads pcap and pcapng, plain or compressed with gzip or zstd"
                .into()
        },
        |what| format!("it is {what}"),
    )
}
