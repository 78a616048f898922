//! Sending of hours of the catalog, as they are asked for.

use std::io;
use std::time::Duration;

use netrewind_catalog::condition::Condition;
use netrewind_catalog::{Catalog, record};
use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_store::catalog::Manifest;
use netrewind_store::clock::Now;
use netrewind_store::{Store, Timestamp};

use crate::collector::CollectorAddress;
use crate::flow_record::{FlowEndReason, FlowRecord};
use crate::message::{FlowMessage, MessageWriter};
use crate::session::{BURST_MESSAGES, BURST_PAUSE, CollectorSession};

/// Records after which tunnels and VLANs are numbered anew: fewer than there are numbers.
const ENCAPSULATIONS_RECORDS: u64 = 1 << 16;
/// Records between two questions whether to stop.
const RECORDS_BETWEEN_QUESTIONS: u64 = 1024;

/// Reason why an hour could not be sent.
#[derive(Debug)]
pub enum SendError {
    /// It was told to stop.
    Stopped,
    /// The hour cannot be read, in words.
    Unreadable(String),
    /// The collector is not there, or takes nothing.
    Collector(io::Error),
}

/// Account of an hour that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentHour {
    /// Records sent.
    pub records: u64,
    /// Conversations that have no IP addresses: they are not sent.
    pub without_addresses: u64,
    /// Parts of the hour that were not sent, in words.
    pub lacks: Option<String>,
}

/// Sends hours to a collector.
pub struct HourSender<'s> {
    session: CollectorSession,
    writer: MessageWriter,
    now: &'s dyn Fn() -> Now,
    pause: &'s dyn Fn(Duration),
    messages: u32,
}

impl<'s> HourSender<'s> {
    /// Connects to a collector; `pause` waits.
    pub fn connect(
        collector: &CollectorAddress,
        domain: u32,
        now: &'s dyn Fn() -> Now,
        pause: &'s dyn Fn(Duration),
    ) -> io::Result<Self> {
        let mut session = CollectorSession::new(collector.clone(), domain);
        session.connect()?;
        Ok(Self { session, writer: MessageWriter::new(domain), now, pause, messages: 0 })
    }

    /// Sends an hour.
    pub fn send(
        &mut self,
        store: &Store,
        catalog: &dyn Catalog,
        manifest: &Manifest,
        is_to_stop: &dyn Fn() -> bool,
    ) -> Result<SentHour, SendError> {
        let ending = RangeEnd::at(manifest.bounds().map(|(_, last)| last.plus_ns(1)));
        let base_ns = manifest.hour.start().ns();
        let (mut sent, mut seen, mut damaged, mut failed) = (SentHour::default(), 0_u64, 0_u64, None);
        let mut beside = Encapsulations::default();
        let mut take = |document: &[u8]| {
            seen += 1;
            if seen.is_multiple_of(ENCAPSULATIONS_RECORDS) {
                beside = Encapsulations::default();
            }
            if seen.is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && is_to_stop() {
                failed = Some(SendError::Stopped);
                return false;
            }
            let Some((part, standing)) = record::read(document, &beside, base_ns) else {
                damaged += 1;
                return true;
            };
            let otherwise = match standing.is_open {
                true => FlowEndReason::ActiveTimeout,
                false => FlowEndReason::IdleTimeout,
            };
            let Some(record) = FlowRecord::of(&describe(&part.key, &part.body, &beside, ending), otherwise)
            else {
                sent.without_addresses += 1;
                return true;
            };
            sent.records += 1;
            let full = self.writer.push(&record);
            failed = full.and_then(|message| self.send_message(message).err()).map(SendError::Collector);
            failed.is_none()
        };
        let everything = Condition::Everything;
        let visited = catalog.visit(store, manifest, &everything, Timestamp::MIN, Timestamp::MAX, &mut take);
        if let Some(error) = failed {
            return Err(error);
        }
        let last = self.writer.finish();
        last.map_or(Ok(()), |message| self.send_message(message)).map_err(SendError::Collector)?;
        visited.map_err(SendError::Unreadable)?;
        sent.lacks = (damaged > 0).then(|| format!("{damaged} of its records, which cannot be read"));
        Ok(sent)
    }

    fn send_message(&mut self, mut message: FlowMessage) -> io::Result<()> {
        self.session.send(&mut message, (self.now)())?;
        self.messages += 1;
        if self.messages.is_multiple_of(BURST_MESSAGES) {
            (self.pause)(BURST_PAUSE);
        }
        Ok(())
    }
}
