//! Sources of packets: live interfaces, capture files, standard input, pcap-over-IP.

pub mod capture_file;
pub mod packet_ring;
pub mod pcap_over_ip;
pub mod replay;
mod reported_drops;

use std::time::Duration;

use netrewind_store::{LinkType, RecordHeader, RingFill};

use self::capture_file::LeftOut;
pub use self::reported_drops::ReportedDrops;

/// One packet from a source. It is valid only during the call that hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Timestamp and lengths. `caplen` counts `head`, `tag` and `tail`.
    pub header: RecordHeader,
    /// Link type of the packet.
    pub link_type: LinkType,
    /// The bytes before `tag`; all of them if there is no tag to restore.
    pub head: &'a [u8],
    /// A VLAN tag that the network card stripped from the frame and that belongs here: TPID, then TCI. Behind a cooked
    /// header, which holds the TPID then: TCI, then the ethertype whose place the TPID took.
    pub tag: Option<[u8; 4]>,
    /// The bytes after `tag`.
    pub tail: &'a [u8],
    /// The source's interface that it comes from, if the source distinguishes interfaces.
    pub interface: Option<&'a SourceInterface>,
}

/// One of several interfaces that the packets of a source come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInterface {
    /// Its name.
    pub name: String,
    /// Description of the interface, if given beside its name.
    pub description: Option<String>,
}

/// Result of a call of [`Source::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// This many packets were handed over.
    Packets(u64),
    /// Nothing arrived in time.
    Quiet,
    /// Nothing will arrive any more.
    End,
}

/// A source's own counters since it was opened: the kernel's for a live interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// Packets that arrived, including those dropped below.
    pub received: u64,
    /// Packets dropped before they could be received: no room in the kernel's ring.
    pub dropped: u64,
}

/// A change of a source's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// A peer's packets will follow.
    Connected {
        /// Its address.
        peer: String,
    },
    /// This peer sends no more packets.
    Disconnected {
        /// Its address.
        peer: String,
        /// Packets that it sent.
        records: u64,
        /// Reason: its stream ended, was silent for too long, or was damaged.
        reason: String,
        /// Notice for the user, if it lost its place because it sent nothing.
        turned_away: Option<String>,
    },
}

/// A source has ended early, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused; the text names the source, what was tried, and the remedy.
    #[error("{what}: {source}")]
    System {
        /// The source, the operation, and the remedy where one is known.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Damaged input; everything before the damage was handed over.
    #[error("{name}: damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// Offset of the damage, in the bytes as read (after decompression).
        offset: u64,
        /// Description of the damage.
        reason: String,
    },
    /// Input that this source cannot read.
    #[error("{name}: {reason}")]
    Unsupported {
        /// The source.
        name: String,
        /// Reason, and remedy.
        reason: String,
    },
}

/// A stream of packets.
pub trait Source: Send {
    /// Name of the source in the logbook and in messages: the interface's or the file's name.
    fn name(&self) -> &str;

    /// Passes every available packet to `take`, in order of arrival, waiting at most `patience` for the first. The number of
    /// packets per call is bounded. Memory that `take` borrows is returned to the kernel before the call returns.
    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError>;

    /// True if packets arrive by themselves: then an error may pass, and the source is called again.
    fn is_live(&self) -> bool {
        false
    }

    /// True if more may follow after an error although packets do not arrive by themselves: as from the next of several files.
    fn goes_on(&self) -> bool {
        false
    }

    /// True if nothing can be received at the moment, although what arrived before may still be handed over.
    fn is_down(&self) -> bool {
        false
    }

    /// Notices for the operator about what happened since the last call.
    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// True if packets wait at their origin while nobody takes them, as in a file, a pipe or a TCP stream: there is no ring to
    /// overflow.
    fn can_wait(&self) -> bool {
        false
    }

    /// True if it is one of several that wait for peers at the same place, and has had none yet: it is not reported, and no lane
    /// is reserved for it, until a peer comes.
    fn is_spare(&self) -> bool {
        false
    }

    /// Connections made and lost since the last call.
    fn take_changes(&mut self) -> Vec<PeerChange> {
        Vec::new()
    }

    /// Packets lost before they came here, as the source reports them, since the last call.
    fn take_reported_drops(&mut self) -> Vec<ReportedDrops> {
        Vec::new()
    }

    /// The TLS key log that came with the packets so far; nothing where the source does not keep any.
    fn take_secrets(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Contents so far, besides packets, that are not kept.
    fn left_out(&self) -> LeftOut {
        LeftOut::default()
    }

    /// Stops the arrival of packets. Those that have arrived can still be received: after this, a call of [`Self::receive`] that
    /// returns [`Received::Quiet`] means that none are left. A stream goes on with the packets that its peer sends meanwhile: the
    /// caller ends that after a while.
    fn stop(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Fill of the kernel ring since the last call; `None` if there is no ring.
    fn take_ring(&mut self) -> Option<RingFill> {
        None
    }

    /// Packets received and dropped since the source was opened.
    fn counters(&mut self) -> Result<SourceCounters, SourceError>;
}
