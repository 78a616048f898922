//! Import of capture files into a store, as fast as they can be read: the recorder's lanes, driven by one thread.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use netrewind_store::clock::Waker;
use netrewind_store::room::Room;
use netrewind_store::store::CaseFiles;
use netrewind_store::store::secret_files::{
    KEY_LOGS_BYTES_MAX, KEY_LOGS_MAX, KeptSecrets, SecretFiles, SecretsHead,
};
use netrewind_store::turns::{self, RunningWorker};
use netrewind_store::{
    Account, Drops, Event, LinkType, SegmentName, Store, StoreError, StoreLock, Timestamp,
};

use super::error::RecorderError;
use super::guard::Guard;
use super::journal::Journal;
use super::lane_setup::{SinkMaker, open_lane, start_sink};
use crate::config::Config;
use crate::disk::LaneDisk;
use crate::lane::{Lane, SegmentOrigin};
use crate::platform::Platform;
use crate::retention::Keeper;
use crate::source::capture_file::LeftOut;
use crate::source::{Packet, Received, ReportedDrops, Source, SourceError, SourceInterface};

/// Lanes of an import: one for each interface and link type of the file being read. The last one is shared by all further
/// interfaces and link types, under the file's name.
pub const IMPORT_LANES_MAX: usize = 16;
/// Buffers of the first lane of an import; most files need no other.
const IMPORT_BUFFERS: u16 = 12;
/// Buffers of each further lane.
const FURTHER_BUFFERS: u16 = 5;
/// Bytes of TLS secrets that wait in memory until the segments of their files are known.
const SECRETS_WAITING_BYTES_MAX: usize = 64 << 20;
/// Time that a disk may fail before an import ends; a full disk ends it at once, as waiting makes no room.
const FAILING_PATIENCE_NS: u64 = 2_000_000_000;
/// Longest single wait for the disk.
const WAIT: Duration = Duration::from_millis(5);
/// Attempts to write a failing logbook at the end.
const LOGBOOK_TRIES: u32 = 20;
/// Longest single wait for a source that is read from a stream.
const SOURCE_PATIENCE: Duration = Duration::from_millis(100);

/// Result of an import.
#[derive(Debug, Default)]
pub struct Import {
    /// Packets received, written and dropped (by a failing disk).
    pub account: Account,
    /// Result of each source.
    pub sources: Vec<ImportedSource>,
    /// Packets that the captures report as lost before.
    pub reported_drops: u64,
    /// Notices for the user.
    pub notices: Vec<String>,
    /// True if it was told to stop, or gave up on the disk, before the sources ended.
    pub is_cut_short: bool,
    /// Lines that could still not be written to the logbook at the end.
    pub unlogged: usize,
    /// Reason that it gave up on the disk, if it did; otherwise the disk's last error on packets that it did not take.
    pub failure: Option<String>,
    /// Imported packets that have expired again already, to make room for others.
    pub expired_packets: u64,
    /// Bytes of TLS secrets that were kept.
    pub secrets_bytes: u64,
    /// Files whose TLS secrets could not be kept, each with the reason.
    pub secrets_lost: Vec<String>,
}

/// The segments of an import.
#[derive(Debug, Default)]
struct Own {
    /// Packets of each sealed segment.
    sealed: HashMap<SegmentName, u64>,
    expired: HashSet<SegmentName>,
    /// When the first and the last segment of each file were opened.
    opened: HashMap<String, (Timestamp, Timestamp)>,
}

/// A key log that came with a file.
#[derive(Debug)]
struct PendingSecrets {
    file: String,
    /// The earliest packet of the file, and the latest.
    bounds: (Timestamp, Timestamp),
    key_log: Vec<u8>,
}

impl Own {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Seal { segment, records, .. } => drop(self.sealed.insert(*segment, *records)),
            Event::Expire { segment, .. } => drop(self.expired.insert(*segment)),
            Event::Open { segment, file: Some(file), .. } => {
                let opened = segment.opened;
                let (from, to) = self.opened.get(file).copied().unwrap_or((opened, opened));
                self.opened.insert(file.clone(), (from.min(opened), to.max(opened)));
            }
            _ => {}
        }
    }

    fn expired_packets(&self) -> u64 {
        self.sealed.iter().filter(|(name, _)| self.expired.contains(name)).map(|(_, packets)| packets).sum()
    }
}

/// Result of one source.
#[derive(Debug)]
pub struct ImportedSource {
    /// Its name.
    pub name: String,
    /// Number of packets read from it.
    pub records: u64,
    /// The error that ended it, if any.
    pub error: Option<SourceError>,
    /// Contents that are not kept.
    pub left_out: LeftOut,
}

/// A lane, and the packets of the current file that it takes.
struct ImportLane {
    link_type: LinkType,
    interface: Option<SourceInterface>,
    /// True if it has had packets of this file.
    is_of_file: bool,
    /// True if it takes all packets without a lane of their own.
    is_shared: bool,
    lane: Lane<LaneDisk>,
}

impl ImportLane {
    #[inline]
    fn takes(&self, packet: &Packet<'_>) -> bool {
        self.is_of_file
            && !self.is_shared
            && self.link_type == packet.link_type
            && self.interface.as_ref() == packet.interface
    }
}

/// Progress within a file.
#[derive(Clone, Copy, Debug, Default)]
struct FileProgress {
    bounds: Option<(Timestamp, Timestamp)>,
    dropped: Drops,
}

struct Importer<'a, 'b> {
    config: Config,
    store: &'a Store,
    keeper: Arc<Keeper>,
    guard: Guard,
    own: Own,
    secrets: Vec<PendingSecrets>,
    sinks: &'a mut SinkMaker<'b>,
    platform: &'a Platform,
    lanes: Vec<ImportLane>,
    /// The lane that took the last packet.
    current: usize,
    seen: FileProgress,
    /// Notice that lanes are shared.
    shared: Option<String>,
    sink_threads: Vec<Box<dyn RunningWorker>>,
    journal: Journal,
    expired: mpsc::Receiver<Event>,
    failing_since_ns: Option<u64>,
    source_name: String,
    error: Option<RecorderError>,
}

/// Writes all packets of `sources`, in order, into `store`, whose lock the caller holds as `lock`. Waits for the sinks, so that
/// no segment is left without index. `go_on` is called from time to time with the number of packets so far.
pub fn import(
    config: Config,
    store: &Store,
    lock: &StoreLock,
    sources: &mut dyn Iterator<Item = Box<dyn Source>>,
    sinks: &mut SinkMaker<'_>,
    platform: &Platform,
    go_on: &mut dyn FnMut(&Account) -> bool,
) -> Result<Import, RecorderError> {
    let config = Config { wait_for_sink: true, buffers: IMPORT_BUFFERS, ..config };
    let config = config.fitted(IMPORT_LANES_MAX).or_else(|_| config.fitted(1))?;
    let (events, expired) = turns::queue(&Waker::default());
    let keeper =
        Keeper::new(store.clone(), config.budget_bytes, config.age_max, 1, platform.clock.clone(), events);
    if config.budget_bytes.is_some() {
        // Without them holds are made within half of what there is.
        let _ = CaseFiles::of(store).set_limits(&config.hold_limits());
    }
    let looked = keeper.expire_old(&|_| false).and_then(|()| keeper.look_ahead(config.segment_bytes));
    looked.map_err(|error| RecorderError::Start {
        what: "the check of the store",
        source: std::io::Error::other(error),
    })?;
    let mut importer = Importer {
        config,
        store,
        keeper: Arc::new(keeper),
        guard: Guard::new(store, lock),
        own: Own::default(),
        secrets: Vec::new(),
        sinks,
        platform,
        lanes: Vec::new(),
        current: 0,
        seen: FileProgress::default(),
        shared: None,
        sink_threads: Vec::new(),
        journal: Journal::new(store),
        expired,
        failing_since_ns: None,
        source_name: String::new(),
        error: None,
    };
    let mut result = Import::default();
    for source in sources {
        importer.take_source(source, &mut result, go_on);
        if result.is_cut_short || importer.error.is_some() {
            break;
        }
    }
    importer.finish(&mut result);
    match importer.error {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

/// Notes once that the logbook cannot be written.
fn note(written: Result<(), StoreError>, result: &mut Import) {
    if let Err(error) = written {
        let text = format!("the logbook cannot be written: {error}");
        if !result.notices.contains(&text) {
            result.notices.push(text);
        }
    }
}

impl Importer<'_, '_> {
    fn take_source(
        &mut self,
        mut source: Box<dyn Source>,
        result: &mut Import,
        go_on: &mut dyn FnMut(&Account) -> bool,
    ) {
        self.source_name = source.name().to_owned();
        let before = self.account().received;
        self.seen.bounds = None;
        let (mut error, mut stopped) = (None, None);
        loop {
            match source.receive(SOURCE_PATIENCE, &mut |packet| self.accept(&packet)) {
                Ok(Received::End) => break,
                Ok(_) => {}
                Err(found) => {
                    error = Some(found);
                    break;
                }
            }
            self.log_drops(source.as_mut(), result);
            self.step(result);
            if self.error.is_some() || self.has_given_up(result) || !go_on(&self.account()) {
                result.is_cut_short = true;
                stopped = Some("the import ended before the file did".to_owned());
                break;
            }
        }
        self.log_drops(source.as_mut(), result);
        self.end_file();
        let records = self.account().received - before;
        let damage = error.as_ref().map(ToString::to_string).or(stopped);
        let (file, left_out) = (self.source_name.clone(), source.left_out());
        self.take_secrets(source.as_mut(), result);
        let (first, last) = self.seen.bounds.unzip();
        let told = (!left_out.is_nothing()).then(|| left_out.to_string());
        self.log(Event::Import { file, records, damage, first, last, left_out: told }, result);
        result.notices.extend(self.shared.take());
        result.sources.push(ImportedSource { name: self.source_name.clone(), records, error, left_out });
    }

    /// Takes the secrets of a file, which are kept once its segments are known.
    fn take_secrets(&mut self, source: &mut dyn Source, result: &mut Import) {
        let (key_log, file) = (source.take_secrets(), self.source_name.clone());
        let waiting: usize = self.secrets.iter().map(|secrets| secrets.key_log.len()).sum();
        match self.seen.bounds {
            _ if key_log.is_empty() => {}
            None => result.secrets_lost.push(format!("{file}: it has TLS secrets, but no packets")),
            Some(_) if waiting + key_log.len() > SECRETS_WAITING_BYTES_MAX => {
                result.secrets_lost.push(format!(
                    "{file}: its TLS secrets do not fit beside those of the files before it: import it alone"
                ));
            }
            Some(bounds) => self.secrets.push(PendingSecrets { file, bounds, key_log }),
        }
    }

    /// Keeps the secrets of all files.
    fn keep_secrets(&mut self, result: &mut Import) {
        for PendingSecrets { file, bounds, key_log } in std::mem::take(&mut self.secrets) {
            let Some(opened) = self.own.opened.get(&file).copied() else {
                result.secrets_lost.push(format!("{file}: none of its packets was stored"));
                continue;
            };
            let head = SecretsHead::new(&file, bounds, opened);
            let lost = match SecretFiles::of(self.store).keep(&head, &key_log) {
                Ok(KeptSecrets::Kept) => {
                    result.secrets_bytes += key_log.len() as u64;
                    continue;
                }
                Ok(KeptSecrets::NoRoom) => format!(
                    "{file}: its TLS secrets do not fit: a store keeps {KEY_LOGS_MAX} key logs with {} MiB",
                    KEY_LOGS_BYTES_MAX >> 20
                ),
                Err(error) => format!("{file}: its TLS secrets cannot be kept: {error}"),
            };
            result.secrets_lost.push(lost);
        }
    }

    /// Logs the drops that the capture reports, and the packets that could not be written.
    fn log_drops(&mut self, source: &mut dyn Source, result: &mut Import) {
        for ReportedDrops { interface, dropped, from, to } in source.take_reported_drops() {
            let file = self.source_name.clone();
            let interface = interface.unwrap_or_else(|| file.clone());
            let dropped = Drops { kernel: dropped, disk: 0 };
            result.reported_drops = result.reported_drops.saturating_add(dropped.kernel);
            self.log(Event::CaptureDrops { file, interface, dropped, from, to }, result);
        }
        self.log_unwritten(result);
    }

    /// Logs the packets that could not be written since the last such line.
    fn log_unwritten(&mut self, result: &mut Import) {
        let all = self.account().dropped;
        let kernel = all.kernel.saturating_sub(self.seen.dropped.kernel);
        let dropped = Drops { kernel, disk: all.disk.saturating_sub(self.seen.dropped.disk) };
        if let Some((from, to)) = self.seen.bounds
            && dropped.total() > 0
        {
            let (file, interface) = (self.source_name.clone(), self.source_name.clone());
            self.seen.dropped = all;
            self.log(Event::CaptureDrops { file, interface, dropped, from, to }, result);
        }
    }

    /// Ends the segments of the file, and frees its lanes for the next.
    fn end_file(&mut self) {
        let now = self.platform.clock.now();
        for open in self.lanes.iter_mut().filter(|open| open.is_of_file) {
            open.lane.finish(now);
            (open.is_of_file, open.is_shared) = (false, false);
        }
    }

    fn accept(&mut self, packet: &Packet<'_>) {
        let at = packet.header.timestamp();
        let (first, last) = self.seen.bounds.unwrap_or((at, at));
        self.seen.bounds = Some((first.min(at), last.max(at)));
        if !self.lanes.get(self.current).is_some_and(|open| open.takes(packet)) {
            let Some(current) = self.lane_for(packet) else { return };
            self.current = current;
        }
        if let Some(open) = self.lanes.get_mut(self.current) {
            open.lane.accept(packet);
        }
    }

    /// The lane of an interface and link type: its own while one is free, otherwise the shared one.
    #[cold]
    fn lane_for(&mut self, packet: &Packet<'_>) -> Option<usize> {
        if let Some(at) = self.lanes.iter().position(|open| open.takes(packet)) {
            return Some(at);
        }
        if let Some(at) = self.lanes.iter().position(|open| open.is_shared) {
            return Some(at);
        }
        let is_free = |open: &ImportLane| !open.is_of_file;
        let fits = |open: &ImportLane| is_free(open) && open.link_type == packet.link_type;
        let is_shared = self.lanes.iter().filter(|open| open.is_of_file).count() + 1 == IMPORT_LANES_MAX;
        let free = self.lanes.iter().position(fits).or_else(|| self.lanes.iter().position(is_free));
        let at = match free {
            Some(at) => at,
            None => self.open_lane(packet.link_type)?,
        };
        let file = self.source_name.clone();
        if is_shared {
            self.shared = Some(format!(
                "{file}: more than {} interfaces and link types: packets of the others are stored under the file's name",
                IMPORT_LANES_MAX - 1
            ));
        }
        let interface = packet.interface.filter(|_| !is_shared).cloned();
        let open = self.lanes.get_mut(at)?;
        let (name, description) = match interface.clone() {
            Some(SourceInterface { name, description }) => (name, description),
            None => (file.clone(), None),
        };
        open.lane.take_from(SegmentOrigin { interface: name, description, file: Some(file) });
        (open.link_type, open.interface) = (packet.link_type, interface);
        (open.is_of_file, open.is_shared) = (true, is_shared);
        Some(at)
    }

    fn open_lane(&mut self, link_type: LinkType) -> Option<usize> {
        let number = self.lanes.len();
        match self.new_lane(u16::try_from(number).unwrap_or(u16::MAX)) {
            Ok(lane) => {
                let (is_of_file, is_shared) = (false, false);
                self.lanes.push(ImportLane { link_type, interface: None, is_of_file, is_shared, lane });
                Some(number)
            }
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    fn new_lane(&mut self, number: u16) -> Result<Lane<LaneDisk>, RecorderError> {
        let room: Arc<dyn Room> = self.keeper.clone();
        let feed = match (self.sinks)(number, &room) {
            Some(sink) => {
                let (feed, thread) = start_sink(number, sink, self.platform)?;
                self.sink_threads.push(thread);
                Some(feed)
            }
            None => None,
        };
        let buffers = if number == 0 { self.config.buffers } else { FURTHER_BUFFERS };
        let config = Config { buffers, ..self.config };
        open_lane(number, &self.source_name, config, self.store, &self.keeper, feed, self.platform)
    }

    fn account(&self) -> Account {
        let mut account = Account::default();
        self.lanes.iter().for_each(|open| account.add(&open.lane.account()));
        account
    }

    fn step(&mut self, result: &mut Import) {
        let now = self.platform.clock.now();
        let mut is_failing = false;
        let mut events: Vec<Event> = self.expired.try_iter().collect();
        let found = self.guard.check(now.monotonic_ns);
        events.extend(found.events);
        result.notices.extend(found.notices);
        if found.end.is_some() {
            result.failure = found.end;
        }
        for ImportLane { lane, .. } in &mut self.lanes {
            lane.step(now);
            if let Some(trouble) = lane.disk_trouble() {
                is_failing = true;
                result.failure = Some(trouble.to_owned());
            }
            events.extend(lane.take_events());
            result.notices.extend(lane.take_notices());
        }
        events.iter().for_each(|event| self.own.note(event));
        events.into_iter().for_each(|event| self.log(event, result));
        self.failing_since_ns = match is_failing {
            true => self.failing_since_ns.or(Some(now.monotonic_ns)),
            false => None,
        };
    }

    /// True if there is no point in going on: the store is gone, there is no room, or the disk has failed for too long.
    fn has_given_up(&self, result: &Import) -> bool {
        let now_ns = self.platform.clock.now().monotonic_ns;
        let is_long = |since_ns: u64| now_ns.saturating_sub(since_ns) > FAILING_PATIENCE_NS;
        let is_gone = result.failure.is_some() && self.store.is_in_place().is_err();
        is_gone
            || self.lanes.iter().any(|open| open.lane.is_out_of_room())
            || self.failing_since_ns.is_some_and(is_long)
    }

    fn log(&mut self, event: Event, result: &mut Import) {
        let logged = self.journal.log(self.platform.clock.now().wall, event);
        note(logged, result);
    }

    fn finish(&mut self, result: &mut Import) {
        let now = self.platform.clock.now();
        self.lanes.iter_mut().for_each(|open| open.lane.finish(now));
        while self.lanes.iter().any(|open| !open.lane.is_idle()) {
            self.step(result);
            for ImportLane { lane, .. } in &mut self.lanes {
                if !lane.is_idle() {
                    lane.wait(WAIT);
                }
            }
            if self.has_given_up(result) {
                self.lanes.iter_mut().for_each(|open| open.lane.give_up());
                result.is_cut_short = true;
            }
        }
        self.step(result);
        self.keep_secrets(result);
        let spared = &self.own.sealed;
        if let Err(error) = self.keeper.expire_old(&|name| spared.contains_key(name)) {
            result.notices.push(format!("removing old segments: {error}"));
        }
        self.step(result);
        self.log_unwritten(result);
        result.expired_packets = self.own.expired_packets();
        result.account = self.account();
        self.lanes.clear();
        for thread in self.sink_threads.drain(..) {
            if !thread.join() {
                result.notices.push("a sink stopped because of a bug (panic) in netrewind".into());
            }
        }
        // The last indexes are written after this, and may need room.
        self.keeper.log_alone();
        let expired: Vec<Event> = self.expired.try_iter().collect();
        expired.into_iter().for_each(|event| self.log(event, result));
        for _ in 0..LOGBOOK_TRIES {
            let written = self.journal.write();
            result.unlogged = self.journal.unwritten();
            note(written, result);
            if result.unlogged == 0 {
                return;
            }
            self.platform.clock.sleep(SOURCE_PATIENCE);
        }
    }
}
