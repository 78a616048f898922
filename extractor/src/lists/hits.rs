//! The addresses of a list that the packets of an answer have.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use netrewind_packet::{Peeler, ViewBytes};
use netrewind_store::Timestamp;
use serde::Serialize;

use super::addresses::AddressList;
use super::demands::listed;
use crate::answer::error::SinkError;
use crate::answer::{Answer, Interface};
use crate::flows::CsvRow;
use crate::sink::{AnswerPacket, AnswerRecords, Preface, Sink, Wants};
use crate::view_mode::ViewMode;

/// Addresses that are counted one by one; packets of further ones are not.
pub const HITS_MAX: usize = 1 << 20;

/// Packets of an answer with a listed address.
#[derive(Clone, Copy, Debug)]
struct Hit {
    packets: u64,
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
}

/// A listed address, and the packets that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListedHit {
    /// The address.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpAddr,
    /// Entry of the list that has it: the address, a network or a range.
    pub entry: String,
    /// Number of packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Time of the earliest.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub first: Timestamp,
    /// Time of the latest.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub last: Timestamp,
}

impl CsvRow for ListedHit {
    const FIELDS: &'static [&'static str] = &["address", "entry", "packets", "bytes", "first", "last"];

    fn fields(&self) -> Vec<String> {
        let Self { address, entry, packets, bytes, first, last } = self;
        vec![
            address.to_string(),
            entry.clone(),
            packets.to_string(),
            bytes.to_string(),
            first.to_string(),
            last.to_string(),
        ]
    }
}

/// Counts the packets of an answer by their listed addresses, and hands them on.
pub struct HitSink<'s> {
    inner: &'s mut dyn Sink,
    hosts: AddressList,
    addresses_max: usize,
    view: ViewMode,
    peeler: Option<Peeler>,
    hits: HashMap<IpAddr, Hit, RandomState>,
    uncounted: u64,
    /// Addresses of one packet.
    found: Vec<IpAddr>,
}

impl<'s> HitSink<'s> {
    /// Counts before `inner`, for at most so many addresses: at most [`HITS_MAX`].
    pub fn new(inner: &'s mut dyn Sink, hosts: AddressList, addresses_max: usize) -> Self {
        Self {
            inner,
            hosts,
            addresses_max: addresses_max.min(HITS_MAX),
            view: ViewMode::default(),
            peeler: None,
            hits: HashMap::default(),
            uncounted: 0,
            found: Vec::new(),
        }
    }

    /// The hits by address, those with most packets first, and the number of packets of further addresses.
    pub fn finish(self) -> (Vec<ListedHit>, u64) {
        let mut hits: Vec<_> = self.hits.into_iter().collect();
        hits.sort_unstable_by_key(|(address, hit)| (std::cmp::Reverse(hit.packets), *address));
        let listed = hits.into_iter().map(|(address, Hit { packets, bytes, first, last })| {
            let entry = self.hosts.entry_of(address).unwrap_or_default();
            ListedHit { address, entry, packets, bytes, first, last }
        });
        (listed.collect(), self.uncounted)
    }

    fn count(&mut self, packet: &AnswerPacket<'_>) {
        let Some(peeler) = &mut self.peeler else { return };
        let len = packet.header.len;
        let view = ViewBytes { link_type: packet.link_type, bytes: packet.bytes, len };
        let (at, bytes) = (packet.header.timestamp(), u64::from(len));
        // A packet counts once for each of its addresses, in however many of its headers they stand.
        self.found.clear();
        self.found.extend(listed(&self.hosts, self.view, peeler.take_apart(view)));
        self.found.sort_unstable();
        self.found.dedup();
        for &address in &self.found {
            let is_full = self.hits.len() >= self.addresses_max;
            match self.hits.get_mut(&address) {
                Some(hit) => {
                    hit.packets += 1;
                    hit.bytes += bytes;
                    (hit.first, hit.last) = (hit.first.min(at), hit.last.max(at));
                }
                None if is_full => self.uncounted += 1,
                None => {
                    self.hits.insert(address, Hit { packets: 1, bytes, first: at, last: at });
                }
            }
        }
    }
}

impl Sink for HitSink<'_> {
    fn wants(&self) -> Wants {
        Wants { packets: true, ..self.inner.wants() }
    }

    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        self.peeler = Some(Peeler::new(preface.tunnel_ports));
        self.view = preface.query.view;
        self.inner.begin(preface)
    }

    fn secrets(&mut self, key_log: &[u8]) -> Result<(), SinkError> {
        self.inner.secrets(key_log)
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        self.count(packet);
        self.inner.packet(packet)
    }

    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        records.packets().for_each(|packet| self.count(&packet));
        self.inner.records(records)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.inner.flush()
    }

    fn know_interfaces(&mut self, interfaces: &[Interface]) {
        self.inner.know_interfaces(interfaces);
    }

    fn finish(&mut self, answer: &Answer) -> Result<(), SinkError> {
        self.inner.finish(answer)
    }
}
