//! A disk in memory that does everything a disk may do: completes late and in any order, fails, tears failed writes, and after a
//! crash holds any part of the data that was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_store::{Mark, SegmentName, Store};

use super::{Disk, DiskEvent, SegmentKey, Write};
use crate::buffer_pool::ALIGNMENT_BYTES;

const SECTOR: usize = 512;
/// Reported latency of every write.
pub(crate) const WRITE_NS: u64 = 3_000_000;

/// A random generator with a seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

/// Rates of misbehaviour: one in this many operations, never for 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub write: u64,
    pub sync: u64,
    pub create: u64,
    pub seal: u64,
    pub publish: u64,
    /// Segments that get less room than they want.
    pub room: u64,
    /// Segments whose file is removed from outside.
    pub gone: u64,
    /// Polls that return nothing although an operation is outstanding.
    pub slowness: u64,
}

#[derive(Debug)]
struct SimWrite {
    offset: usize,
    bytes: Vec<u8>,
    /// True for each sector that reached the disk; `None` while the write is outstanding.
    landed: Option<Vec<bool>>,
    is_durable: bool,
}

#[derive(Debug)]
pub(crate) struct SimFile {
    pub name: SegmentName,
    wanted: usize,
    reserved: usize,
    writes: Vec<SimWrite>,
    /// Every mark ever published.
    pub marks: Vec<Mark>,
    /// The mark that recovery believes.
    synced: Mark,
    pub sealed: Option<Vec<u8>>,
    /// True if it was removed from outside.
    pub is_gone: bool,
}

enum Operation {
    Create(SegmentKey, SegmentName, u64),
    Write(Write, usize),
    Sync(SegmentKey, Vec<usize>, Mark),
    Seal(SegmentKey, u64),
}

pub(crate) struct SimState {
    pub chance: Chance,
    pub faults: Faults,
    pub files: BTreeMap<SegmentKey, SimFile>,
    /// Files that the lane has let go of without sealing them.
    pub left: Vec<SegmentKey>,
    under_way: Vec<Operation>,
}

/// Kind of crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process ends; the system keeps running.
    Kill,
    /// Data that was not synced may be lost.
    PowerCut,
}

#[derive(Clone)]
pub(crate) struct SimDisk(pub Arc<Mutex<SimState>>);

impl SimDisk {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let chance = Chance::new(seed);
        Self(Arc::new(Mutex::new(SimState {
            chance,
            faults,
            files: BTreeMap::new(),
            left: Vec::new(),
            under_way: Vec::new(),
        })))
    }
}

impl SimFile {
    /// The bytes that the mark promised.
    pub fn committed(&self, mark: &Mark) -> Vec<u8> {
        let mut image = self.image(|write, sector| has_landed(write, sector).unwrap_or(false));
        image.truncate(mark.committed_bytes as usize);
        image
    }

    /// Contents of the file, each sector of each write present according to `is_there`.
    fn image(&self, mut is_there: impl FnMut(&SimWrite, usize) -> bool) -> Vec<u8> {
        let mut image = vec![0; self.wanted];
        for write in &self.writes {
            for (i, sector) in write.bytes.chunks(SECTOR).enumerate() {
                if is_there(write, i) {
                    let at = write.offset + i * SECTOR;
                    image[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        image
    }
}

fn has_landed(write: &SimWrite, sector: usize) -> Option<bool> {
    write.landed.as_ref().map(|landed| landed[sector])
}

impl SimState {
    /// Writes into a store the state after a crash at this moment, and returns the mark of each open segment.
    pub fn crash(&mut self, crash: Crash, store: &Store) -> Vec<(SegmentName, Mark)> {
        let mut chance = self.chance.clone();
        let mut marks = Vec::new();
        for file in self.files.values() {
            store.prepare_folder(&file.name).unwrap();
            if let Some(sealed) = &file.sealed {
                store.files().write(&store.sealed_path(&file.name), sealed).unwrap();
                continue;
            }
            let image = file.image(|write, sector| match crash {
                Crash::Kill => has_landed(write, sector).unwrap_or_else(|| chance.once_in(2)),
                Crash::PowerCut => {
                    let landed = has_landed(write, sector).unwrap_or(true);
                    landed && (write.is_durable || chance.once_in(2))
                }
            });
            store.files().write(&store.open_path(&file.name), &image).unwrap();
            let promised = file.marks.last().copied().unwrap_or_default();
            // Of the published mark, a power cut may leave an earlier one.
            let behind = if crash == Crash::Kill { 0 } else { chance.below(3) as usize };
            let published = file.marks.iter().rev().nth(behind).copied().unwrap_or_default();
            if promised.records > 0 {
                let both = [published.to_bytes(), file.synced.to_bytes()].concat();
                store.files().write(&store.mark_path(&file.name), &both).unwrap();
            }
            marks.push((file.name, promised));
        }
        marks
    }

    fn file(&mut self, segment: SegmentKey) -> &mut SimFile {
        self.files.get_mut(&segment).expect("the segment is open")
    }

    fn carry_out(&mut self, operation: Operation) -> DiskEvent {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        match operation {
            Operation::Create(segment, name, wanted_bytes) => {
                if self.chance.once_in(self.faults.create) {
                    return DiskEvent::Created { segment, result: Err(full()) };
                }
                let wanted = (wanted_bytes as usize).next_multiple_of(ALIGNMENT_BYTES);
                let fault = self.faults.room;
                let reserved = if self.chance.once_in(fault) { wanted / 2 } else { wanted };
                let file = SimFile {
                    name,
                    wanted,
                    reserved,
                    writes: vec![],
                    marks: vec![],
                    synced: Mark::default(),
                    sealed: None,
                    is_gone: false,
                };
                assert!(self.files.insert(segment, file).is_none());
                DiskEvent::Created { segment, result: Ok(reserved as u64) }
            }
            Operation::Write(write, at) => {
                let end = write.offset as usize + write.bytes;
                let is_reserved = end <= self.file(write.segment).reserved;
                let fails = self.chance.once_in(if is_reserved { self.faults.write } else { 2 });
                let mut chance = Chance::new(self.chance.next());
                let sectors = write.bytes.div_ceil(SECTOR);
                let landed = (0..sectors).map(|_| !fails || chance.once_in(2)).collect();
                self.file(write.segment).writes[at].landed = Some(landed);
                let result = if fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) };
                DiskEvent::Written { write, took_ns: WRITE_NS, result }
            }
            Operation::Sync(segment, writes, mark) => {
                let fails = self.chance.once_in(self.faults.sync);
                for at in writes {
                    self.file(segment).writes[at].is_durable |= !fails;
                }
                if !fails {
                    self.file(segment).synced = mark;
                }
                let result = if fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) };
                DiskEvent::Synced { segment, result }
            }
            Operation::Seal(segment, bytes) => {
                if self.chance.once_in(self.faults.gone) {
                    self.file(segment).is_gone = true;
                    let result = Err(io::ErrorKind::NotFound.into());
                    return DiskEvent::Sealed { segment, result };
                }
                if self.chance.once_in(self.faults.seal) {
                    return DiskEvent::Sealed { segment, result: Err(full()) };
                }
                let file = self.file(segment);
                let mut image = file.image(|write, sector| has_landed(write, sector).unwrap());
                image.truncate(bytes as usize);
                assert_eq!(image.len() as u64, bytes);
                file.sealed = Some(image);
                DiskEvent::Sealed { segment, result: Ok(()) }
            }
        }
    }

    fn is_quiet(&self, key: SegmentKey) -> bool {
        self.under_way.iter().all(|operation| match operation {
            Operation::Create(segment, ..) | Operation::Sync(segment, ..) | Operation::Seal(segment, _) => {
                *segment != key
            }
            Operation::Write(write, _) => write.segment != key,
        })
    }
}

impl Disk for SimDisk {
    fn room_bytes(&self, wanted_bytes: u64) -> u64 {
        wanted_bytes
    }

    fn create(&mut self, segment: SegmentKey, name: SegmentName, wanted_bytes: u64) {
        self.0.lock().unwrap().under_way.push(Operation::Create(segment, name, wanted_bytes));
    }

    fn write(&mut self, write: Write) {
        let mut state = self.0.lock().unwrap();
        assert_eq!((write.offset as usize % ALIGNMENT_BYTES, write.bytes % ALIGNMENT_BYTES), (0, 0));
        let range = write.offset..write.offset + write.bytes as u64;
        for operation in &state.under_way {
            if let Operation::Write(other, _) = operation
                && other.segment == write.segment
            {
                let end = other.offset + other.bytes as u64;
                assert!(end <= range.start || range.end <= other.offset, "two writes to one place under way");
            }
        }
        let file = state.file(write.segment);
        assert!(file.sealed.is_none() && range.end <= file.wanted as u64);
        let at = file.writes.len();
        file.writes.push(SimWrite {
            offset: write.offset as usize,
            bytes: write.buffer[..write.bytes].to_vec(),
            landed: None,
            is_durable: false,
        });
        state.under_way.push(Operation::Write(write, at));
    }

    fn sync(&mut self, segment: SegmentKey, mark: &Mark) {
        let mut state = self.0.lock().unwrap();
        let writes = &state.file(segment).writes;
        let answered = (0..writes.len()).filter(|&at| writes[at].landed.is_some()).collect();
        state.under_way.push(Operation::Sync(segment, answered, *mark));
    }

    fn publish(&mut self, segment: SegmentKey, mark: &Mark) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let fault = state.faults.publish;
        if state.chance.once_in(fault) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let file = state.file(segment);
        let before = file.marks.last().map_or(0, |mark| mark.committed_bytes);
        assert!(mark.committed_bytes > before, "marks grow");
        file.marks.push(*mark);
        Ok(())
    }

    fn seal(&mut self, segment: SegmentKey, bytes: u64) {
        let mut state = self.0.lock().unwrap();
        assert!(state.is_quiet(segment));
        state.under_way.push(Operation::Seal(segment, bytes));
    }

    fn discard(&mut self, segment: SegmentKey) {
        let mut state = self.0.lock().unwrap();
        assert!(state.is_quiet(segment));
        let file = state.files.remove(&segment).expect("only open segments are discarded");
        assert!(file.sealed.is_none() && file.marks.is_empty(), "nothing promised is discarded");
    }

    fn leave(&mut self, segment: SegmentKey) {
        let mut state = self.0.lock().unwrap();
        assert!(state.is_quiet(segment));
        assert!(state.file(segment).sealed.is_none());
        state.left.push(segment);
    }

    fn next_event(&mut self, patience: Duration) -> Option<DiskEvent> {
        let mut state = self.0.lock().unwrap();
        let slowness = state.faults.slowness;
        if state.under_way.is_empty()
            || (patience.is_zero() && slowness > 0 && !state.chance.once_in(slowness))
        {
            return None;
        }
        let count = state.under_way.len() as u64;
        let at = state.chance.below(count) as usize;
        let operation = state.under_way.swap_remove(at);
        Some(state.carry_out(operation))
    }
}
