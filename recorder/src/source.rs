//! Where packets come from: live interfaces, capture files, standard input, pcap-over-IP.

pub mod capture_file;
pub mod packet_ring;
pub mod pcap_over_ip;
pub mod replay;

use std::time::Duration;

use self::capture_file::LeftOut;

use netrewind_segment::{LinkType, RecordHeader, RingFill, Timestamp};

/// One packet as a source hands it over. It is valid only during the call that hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Timestamp and lengths. `caplen` counts `head`, `tag` and `tail`.
    pub header: RecordHeader,
    /// What the first byte means.
    pub link_type: LinkType,
    /// The bytes before `tag`; all of them where there is no tag to put back.
    pub head: &'a [u8],
    /// A VLAN tag (TPID, then TCI) that the network card took out of the frame and that belongs back.
    pub tag: Option<[u8; 4]>,
    /// The bytes after `tag`.
    pub tail: &'a [u8],
    /// Which of the source's interfaces it comes from, where the source tells them apart.
    pub interface: Option<&'a SourceInterface>,
}

/// One of several interfaces that the packets of a source come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInterface {
    /// Its name.
    pub name: String,
    /// What it is for, where that is told beside its name.
    pub description: Option<String>,
}

/// Packets that are missing in a capture, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedDrops {
    /// The interface on which they were lost; absent where it has no name.
    pub interface: Option<String>,
    /// How many.
    pub dropped: u64,
    /// From when on, by the capture's clock.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// What a call of [`Source::receive`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// This many packets were handed over.
    Packets(u64),
    /// Nothing arrived in time.
    Quiet,
    /// Nothing will arrive any more.
    End,
}

/// What a source counted itself since it was opened: the kernel's own counters for a live interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// Packets that arrived, including those dropped below.
    pub received: u64,
    /// Packets dropped before they could be handed over: no room in the kernel's ring.
    pub dropped: u64,
}

/// What became of a source's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// A peer's packets will follow.
    Connected {
        /// Its address.
        peer: String,
    },
    /// No more will follow from this peer.
    Disconnected {
        /// Its address.
        peer: String,
        /// Packets that it sent.
        records: u64,
        /// Why: it ended its stream, it fell silent, its stream was damaged.
        reason: String,
        /// What a person should know, where it lost its place because it sent nothing.
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
    /// Damaged input, up to which everything was handed over.
    #[error("{name}: damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// Where the damage begins, in the bytes as read (after decompression).
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Not something that this source can read.
    #[error("{name}: {reason}")]
    Unsupported {
        /// The source.
        name: String,
        /// Why not, and what to do instead.
        reason: String,
    },
}

/// A stream of packets.
pub trait Source: Send {
    /// What to call it in the logbook and to a person: the interface's or the file's name.
    fn name(&self) -> &str;

    /// Hands every packet that is there to `take`, in order of arrival, waiting at most `patience` for the first. Hands
    /// over a bounded number a call. What `take` borrows is given back to the kernel before the call returns.
    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError>;

    /// Whether packets arrive by themselves, so that an error may pass and the source is asked again.
    fn is_live(&self) -> bool {
        false
    }

    /// Whether more may follow behind an error, although packets do not arrive by themselves: as from the next of several files.
    fn goes_on(&self) -> bool {
        false
    }

    /// Whether packets wait where they come from while nobody takes them, as in a file, a pipe or a TCP stream: no ring is
    /// about to overflow.
    fn can_wait(&self) -> bool {
        false
    }

    /// Whether it is one of several that wait for peers at the same place, and has had none yet: nothing is said of it, and
    /// nothing kept ready for it, until one comes.
    fn is_spare(&self) -> bool {
        false
    }

    /// Connections made and lost since the last call.
    fn take_changes(&mut self) -> Vec<PeerChange> {
        Vec::new()
    }

    /// Packets that the source says were lost before they came here, since the last call.
    fn take_reported_drops(&mut self) -> Vec<ReportedDrops> {
        Vec::new()
    }

    /// What came along with the packets so far and is not kept.
    fn left_out(&self) -> LeftOut {
        LeftOut::default()
    }

    /// Lets nothing more arrive. What has arrived can still be received: after this, a call of [`Self::receive`] that
    /// comes to [`Received::Quiet`] means that nothing is left. A stream goes on
    /// with what its peer sends meanwhile: the caller ends that after a while.
    fn stop(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// How full the ring was that the packets come through, since the last call; none where there is no ring.
    fn take_ring(&mut self) -> Option<RingFill> {
        None
    }

    /// Packets received and dropped since the source was opened.
    fn counters(&mut self) -> Result<SourceCounters, SourceError>;
}
