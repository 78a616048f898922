//! Stores built packet by packet, and a model that answers queries the slow way.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

pub mod linking;
pub mod tunnelled;

use std::fs;
use std::path::{Path, PathBuf};

use netrewind_extractor::flows::{Conversation, FlowQuery, LIMIT_MAX, SummaryQuery};
use netrewind_extractor::{
    Answer, AnswerPacket, ExtractError, Extractor, NoControl, Options, Query, Sink, SinkError,
};
use netrewind_index::{HourBuilder, Index};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::catalog::Hour;
use netrewind_store::store::HourFiles;
use netrewind_store::{
    LinkType, Map, Mark, Medium, PcapWriter, RecordHeader, RecordReader, SegmentName, Store, Timestamp,
};

/// A packet as captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub header: RecordHeader,
    pub bytes: Vec<u8>,
    pub link_type: LinkType,
}

impl Stored {
    pub fn at(&self) -> Timestamp {
        self.header.timestamp()
    }
}

/// A store in a folder that goes with it, and all that it holds.
pub struct TestStore {
    pub folder: tempfile::TempDir,
    pub store: Store,
    /// Lane, name and packets of each segment.
    pub segments: Vec<(SegmentName, Vec<Stored>)>,
}

pub fn name(second: u32, lane: u16) -> SegmentName {
    SegmentName { opened: Timestamp::new(1_795_339_861 + second, 5), lane }
}

pub fn segment_bytes(link_type: LinkType, packets: &[Stored]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), link_type).unwrap();
    for packet in packets {
        writer.write(&packet.header, &packet.bytes).unwrap();
    }
    writer.finish().unwrap()
}

pub fn index_of(segment: &[u8]) -> Vec<u8> {
    netrewind_index::build_from(RecordReader::new(segment).unwrap(), 7).unwrap()
}

impl Default for TestStore {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp::new(1_795_339_000, 0), 7).unwrap();
        Self { folder, store, segments: Vec::new() }
    }
}

impl TestStore {
    /// Each day on which segments were opened has a logbook: an empty one, if nobody writes there.
    fn begin_logbook(&self, name: &SegmentName) {
        let path = self.store.logbook_path(&name.date());
        fs::File::options().create(true).append(true).open(path).unwrap();
    }

    /// Adds a sealed segment without an index.
    pub fn seal(&mut self, name: SegmentName, packets: Vec<Stored>) -> Vec<u8> {
        let bytes = segment_bytes(packets[0].link_type, &packets);
        self.begin_logbook(&name);
        self.store.prepare_folder(&name).unwrap();
        fs::write(self.store.sealed_path(&name), &bytes).unwrap();
        self.segments.push((name, packets));
        bytes
    }

    /// Adds a sealed segment and its index.
    pub fn seal_indexed(&mut self, name: SegmentName, packets: Vec<Stored>) {
        let bytes = self.seal(name, packets);
        self.store.write_index(&name, &index_of(&bytes)).unwrap();
    }

    /// Adds an open segment of which `committed` packets are promised; the rest is there, and some reserved space.
    pub fn open(&mut self, name: SegmentName, mut packets: Vec<Stored>, committed: usize) {
        let bytes = segment_bytes(packets[0].link_type, &packets);
        self.begin_logbook(&name);
        self.store.prepare_folder(&name).unwrap();
        let mut file = bytes.clone();
        file.resize(bytes.len() + 5000, 0);
        fs::write(self.store.open_path(&name), file).unwrap();
        packets.truncate(committed);
        let promised = segment_bytes(packets[0].link_type, &packets);
        let times = || packets.iter().map(Stored::at);
        let mark = Mark {
            committed_bytes: promised.len() as u64,
            records: committed as u64,
            first: times().min().unwrap(),
            last: times().max().unwrap(),
        };
        fs::write(self.store.mark_path(&name), mark.to_bytes()).unwrap();
        self.segments.push((name, packets));
    }

    /// An extractor, which finds the indexes of hours.
    pub fn extractor(&self) -> Extractor {
        self.write_hours();
        self.extractor_as_it_is()
    }

    /// Writes the index of each hour, of the segments whose indexes fit.
    pub fn write_hours(&self) {
        let ports = TunnelPorts::written(&self.store.identity().tunnel_ports).unwrap();
        let mut names: Vec<SegmentName> = self.segments.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let hour_of = |name: &SegmentName| Hour::of(name.opened);
        for names in names.chunk_by(|one, next| hour_of(one) == hour_of(next)) {
            let hour = hour_of(&names[0]);
            let Some(day) = HourFiles::of(&self.store).day(hour) else { continue };
            let mut builder = HourBuilder::new(hour, &ports);
            for name in names {
                let Some(stamps) = day.stamps(name) else { continue };
                let (Ok(segment), Ok(index)) =
                    (fs::read(self.store.sealed_path(name)), fs::read(self.store.index_path(name)))
                else {
                    continue;
                };
                let Ok(index) = Index::open(index) else { continue };
                let medium = Medium::mapped(Map::from_bytes(segment));
                let fits = index.matches_segment(&medium).and_then(|()| index.matches_ports(&ports));
                if fits.and_then(|()| index.verify()).is_ok() {
                    builder.add(*name, stamps, &index).unwrap();
                }
            }
            HourFiles::of(&self.store).write(hour, &builder.finish()).unwrap();
        }
    }

    /// An extractor over what there is.
    pub fn extractor_as_it_is(&self) -> Extractor {
        // In small pieces, so that even small segments come in several.
        Extractor::new(
            self.store.clone(),
            Options { helpers: 1, piece_parts: 20, counted_flows: 50, ..Options::default() },
        )
    }

    /// The answer, the slow way: every packet judged by `accepts`, then sorted.
    pub fn model(&self, query: &Query, accepts: &mut dyn FnMut(&Stored) -> bool) -> Vec<Stored> {
        let mut segments: Vec<_> = self.segments.iter().collect();
        segments.sort_by_key(|(name, _)| (name.lane, *name));
        let from = query.from.unwrap_or(Timestamp::MIN);
        let in_time = |packet: &&Stored| from <= packet.at() && query.to.is_none_or(|to| packet.at() < to);
        let mut answer: Vec<Stored> = segments
            .iter()
            .flat_map(|(_, packets)| packets)
            .filter(in_time)
            .filter(|packet| accepts(packet))
            .cloned()
            .collect();
        answer.sort_by_key(Stored::at);
        answer
    }
}

/// Keeps an answer in memory.
#[derive(Debug, Default)]
pub struct Collect(pub Vec<Stored>);

impl Sink for Collect {
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let AnswerPacket { header, bytes, link_type, .. } = *packet;
        self.0.push(Stored { header, bytes: bytes.to_vec(), link_type });
        Ok(())
    }
}

pub fn extract(extractor: &Extractor, query: &Query) -> Result<(Vec<Stored>, Answer), ExtractError> {
    let mut sink = Collect::default();
    let answer = extractor.extract(query, &mut sink, &mut NoControl)?;
    assert_eq!(answer.packets, sink.0.len() as u64);
    Ok((sink.0, answer))
}

/// libpcap's own verdict.
pub struct Libpcap {
    programs: Vec<(LinkType, Option<pcap::BpfProgram>)>,
    expression: String,
}

impl Libpcap {
    pub fn new(expression: &str) -> Self {
        Self { programs: Vec::new(), expression: expression.to_owned() }
    }

    pub fn accepts(&mut self, packet: &Stored) -> bool {
        let link_type = packet.link_type;
        if !self.programs.iter().any(|(known, _)| *known == link_type) {
            let dead = pcap::Capture::dead(pcap::Linktype(match link_type {
                LinkType::RAW => 12, // as libpcap calls it
                other => i32::from(other.0),
            }))
            .unwrap();
            self.programs.push((link_type, dead.compile(&self.expression, true).ok()));
        }
        let program = self.programs.iter().find(|(known, _)| *known == link_type).unwrap();
        program.1.as_ref().is_some_and(|program| program.filter(&packet.bytes))
    }
}

/// The folder of public captures, if there is one.
pub fn corpus() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("NETREWIND_CORPUS").map_or(beside, PathBuf::from);
    let found = folder.is_dir().then_some(folder);
    if found.is_none() {
        eprintln!("no corpus: set NETREWIND_CORPUS; skipped");
    }
    found
}

/// All of its captures, by path; none where there is no corpus.
pub fn captures() -> Vec<PathBuf> {
    let groups = corpus().into_iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let files = groups
        .filter(|group| group.path().is_dir())
        .flat_map(|group| fs::read_dir(group.path()).unwrap().flatten().map(|file| file.path()));
    let mut paths: Vec<PathBuf> = files.collect();
    paths.sort();
    paths
}

/// The first packets of a capture file of one link type.
pub fn read_capture(path: &Path, packets_max: usize) -> Option<Vec<Stored>> {
    let mut capture = pcap::Capture::from_file_with_precision(path, pcap::Precision::Nano).ok()?;
    let link_type = LinkType(u16::try_from(capture.get_datalink().0).ok()?);
    let mut packets = Vec::new();
    while let Ok(packet) = capture.next_packet() {
        let header = RecordHeader {
            seconds: packet.header.ts.tv_sec as u32,
            nanoseconds: packet.header.ts.tv_usec as u32,
            caplen: packet.header.caplen,
            len: packet.header.len,
        };
        packets.push(Stored { header, bytes: packet.data.to_vec(), link_type });
        if packets.len() == packets_max {
            break;
        }
    }
    // A bare header of this type asks libpcap for a link type that it knows by another number.
    let known = |packet: &Stored| packet.header.caplen as usize == packet.bytes.len();
    packets.retain(known);
    (!packets.is_empty()).then_some(packets)
}

/// Small, seeded, the same everywhere (xorshift64*).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A TCP packet from 10.0.0.1, port 443, received `n` milliseconds after a certain instant.
pub fn packet(n: u32, lane: u32, caplen: u32) -> Stored {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    bytes.extend_from_slice(&[0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 9, 0, lane as u8]);
    bytes.extend_from_slice(&[
        1,
        187,
        (n % 50) as u8,
        n as u8,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0x50,
        0x10,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    bytes.resize(caplen as usize, 0);
    let header = RecordHeader {
        seconds: 1_795_339_862 + n / 1000,
        nanoseconds: n % 1000 * 1_000_000,
        caplen,
        len: caplen,
    };
    Stored { header, bytes, link_type: LinkType::ETHERNET }
}

/// A seed for this run: `NETREWIND_TEST_SEED`, or one that is always the same; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed =
        std::env::var("NETREWIND_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    eprintln!("seed {seed}");
    seed
}

/// What flows and summary of a query add up to is what extraction gives: packets and bytes.
pub fn check_flows(extractor: &Extractor, query: &Query, wanted: (u64, u64), context: &str) {
    let listed = FlowQuery { limit: LIMIT_MAX, ..FlowQuery::default() };
    let answer = extractor.flows(query, &listed, &mut NoControl).unwrap();
    let bytes = |flow: &Conversation| flow.client_bytes + flow.server_bytes;
    let found = answer.flows.iter().fold((0, 0), |sum, flow| (sum.0 + flow.packets(), sum.1 + bytes(flow)));
    assert_eq!(found, wanted, "{context}: flows add up to what is extracted");
    let summary = extractor.summary(query, &SummaryQuery::default(), &mut NoControl).unwrap();
    assert_eq!((summary.totals.packets, summary.totals.bytes), wanted, "{context}: and so does the summary");
    assert_eq!(summary.totals.conversations, answer.flows.len() as u64, "{context}");
    let in_series: u64 = summary.series.iter().map(|point| point.packets).sum();
    assert_eq!(in_series, wanted.0, "{context}: and its series");
    for flow in answer.flows.iter().step_by(1 + answer.flows.len() / 3) {
        let found = extractor.flow(query, flow.id, &mut NoControl).unwrap();
        assert_eq!(found.map(|found| found.packets()), Some(flow.packets()), "{context}: {}", flow.id);
    }
}
