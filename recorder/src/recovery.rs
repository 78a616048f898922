//! Recovery after a crash: segments that were left open are cut to their whole records and sealed.
//!
//! **Invariant:** nothing that the committed mark promised is discarded. Behind the mark, a record counts as whole only if no
//! sector of it reads as all zeros: a power cut may have lost any sector that was not yet synced, and a lost sector cannot be
//! told from one of zeros.

use std::io;

use netrewind_store::files::{OpenMode, StoreFile};
use netrewind_store::layout::{CAPLEN_MAX, FILE_HEADER_BYTES, RECORD_HEADER_BYTES, file_header};
use netrewind_store::store::{ColdFiles, ListedSegment, MarkFiles};
use netrewind_store::time::DAY_NS;
use netrewind_store::{
    Event, LinkType, Mark, RecordHeader, RecordReader, SegmentError, SegmentName, SegmentState, Store,
    StoreError, Timestamp,
};

/// The smallest unit that a disk writes atomically.
pub const SECTOR_BYTES: u64 = 512;
/// Consecutive plausible records that a position behind damage needs to count as the start of a record.
const CHAIN_RECORDS: usize = 8;
/// Greatest distance in time of a record found behind damage from the range that the mark promised.
const CHAIN_TIME_NS: u64 = DAY_NS;
/// Bytes searched at a time.
const SCAN_BYTES: usize = 1 << 20;
/// Limit on the pieces that a damaged segment is split into.
const PIECES_MAX: u64 = 1024;

/// The whole records at the beginning of an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WholeRecords {
    kept_bytes: u64,
    records: u64,
    first: Timestamp,
    last: Timestamp,
}

/// Recovers every segment that was left open, and returns those that are now sealed but have no index. Call it while holding the
/// store's lock, before anything is written.
pub fn recover(store: &Store, log: &mut dyn FnMut(Event)) -> Result<Vec<SegmentName>, StoreError> {
    ColdFiles::of(store).tidy()?;
    let mut recovered = Vec::new();
    for segment in ListedSegment::all(store)? {
        if segment.state == SegmentState::Open {
            recover_segment(store, segment.name, &mut recovered, log)?;
        }
    }
    Ok(recovered)
}

fn recover_segment(
    store: &Store,
    name: SegmentName,
    recovered: &mut Vec<SegmentName>,
    log: &mut dyn FnMut(Event),
) -> Result<(), StoreError> {
    let path = store.open_path(&name);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let mark = promise(store, &name)?;
    let file = store.files().open(&path, OpenMode::Update).map_err(failed)?;
    let file = &*file;
    let Some((link_type, walk)) = walk(file, mark.committed_bytes).map_err(failed)? else {
        return remove_headless(store, &name, file, &mark, log);
    };
    let data_end = data_end(file, walk.kept_bytes).map_err(failed)?;
    let rest = find_rest(file, &walk, &mark, data_end.min(mark.committed_bytes)).map_err(failed)?;
    if let Some(rest) = rest {
        let piece = next_free_name(store, &name);
        write_piece(store, &piece, link_type, file, rest..mark.committed_bytes)?;
        recover_segment(store, piece, recovered, log)?;
    }
    log(Event::Recover {
        segment: name,
        committed_bytes: mark.committed_bytes,
        kept_bytes: if walk.records == 0 { 0 } else { walk.kept_bytes },
        cut_bytes: rest.unwrap_or(data_end).saturating_sub(walk.kept_bytes),
        records: walk.records,
        first: walk.first,
        last: walk.last,
    });
    if walk.records == 0 {
        return store.remove(&name);
    }
    file.set_bytes(walk.kept_bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    store.seal(&name)?;
    recovered.push(name);
    Ok(())
}

/// The greater of the two marks: after a power cut, the published one may be an earlier one. If neither can be read, nothing is
/// promised.
fn promise(store: &Store, name: &SegmentName) -> Result<Mark, StoreError> {
    let marks = [store.mark(name)?, MarkFiles::of(store).synced(name)?];
    Ok(marks.into_iter().flatten().max_by_key(|mark| mark.committed_bytes).unwrap_or_default())
}

/// Removes a file without a header, in which nothing can be read. If its mark promised records, it is left as it is.
fn remove_headless(
    store: &Store,
    name: &SegmentName,
    file: &dyn StoreFile,
    mark: &Mark,
    log: &mut dyn FnMut(Event),
) -> Result<(), StoreError> {
    let path = store.open_path(name);
    if mark.committed_bytes > 0 {
        let reason = format!("{}: its file header is damaged; the file is left as it is", path.display());
        log(Event::DiskError { lane: name.lane, reason, lost: None });
        return Ok(());
    }
    let cut_bytes = data_end(file, 0).map_err(|source| StoreError::Io { path, source })?;
    if cut_bytes > 0 {
        log(Event::Recover {
            segment: *name,
            committed_bytes: 0,
            kept_bytes: 0,
            cut_bytes,
            records: 0,
            first: Timestamp::MAX,
            last: Timestamp::MIN,
        });
    }
    store.remove(name)
}

/// Walks the whole records from the beginning; `None` where there is no file header.
fn walk(file: &dyn StoreFile, committed_bytes: u64) -> io::Result<Option<(LinkType, WholeRecords)>> {
    let mut reader = match RecordReader::new(file.reader(0)) {
        Ok(reader) => reader,
        Err(SegmentError::Io(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let mut walk = WholeRecords {
        kept_bytes: FILE_HEADER_BYTES as u64,
        records: 0,
        first: Timestamp::MAX,
        last: Timestamp::MIN,
    };
    loop {
        let record = match reader.next_record() {
            Ok(Some(record)) => record,
            Err(SegmentError::Io(error)) => return Err(error),
            Ok(None) | Err(_) => break,
        };
        if record.end() > committed_bytes {
            // No packet has length zero: this is reserved space, or a header that was torn before its last field.
            if record.header.len == 0 || has_lost_sector(file, &record)? {
                break;
            }
        }
        walk.kept_bytes = record.end();
        walk.records += 1;
        walk.first = walk.first.min(record.header.timestamp());
        walk.last = walk.last.max(record.header.timestamp());
    }
    Ok(Some((reader.link_type(), walk)))
}

/// True if a sector that the record touches reads as all zeros, or as an earlier write left it: that write ended with a whole
/// record and zeros, so the record's header begins with zeros up to the sector's end.
fn has_lost_sector(file: &dyn StoreFile, record: &netrewind_store::Record<'_>) -> io::Result<bool> {
    let in_first_sector = usize::try_from(SECTOR_BYTES - record.offset % SECTOR_BYTES).unwrap_or(usize::MAX);
    if record.header.to_bytes().get(..in_first_sector).is_some_and(is_zero) {
        return Ok(true);
    }
    let packet_offset = record.offset + RECORD_HEADER_BYTES as u64;
    let mut sector = packet_offset / SECTOR_BYTES;
    while sector * SECTOR_BYTES < record.end() {
        let from = (sector * SECTOR_BYTES).max(packet_offset) - packet_offset;
        let to = ((sector + 1) * SECTOR_BYTES).min(record.end()).saturating_sub(packet_offset);
        let here =
            record.packet.get(usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(to).unwrap_or(0));
        if here.is_none_or(is_zero) && sector_is_zero(file, sector)? {
            return Ok(true);
        }
        sector += 1;
    }
    Ok(false)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn sector_is_zero(file: &dyn StoreFile, sector: u64) -> io::Result<bool> {
    let mut bytes = [0; SECTOR_BYTES as usize];
    let read = file.read_at_most(&mut bytes, sector * SECTOR_BYTES)?;
    Ok(is_zero(&bytes[..read]))
}

/// End of the last byte that is not zero, or `from`. Reserved space is not read.
fn data_end(file: &dyn StoreFile, from: u64) -> io::Result<u64> {
    let (mut end, mut position) = (from, from);
    let mut bytes = vec![0; SCAN_BYTES];
    while let Some(data) = file.data_from(position)? {
        position = data.start;
        while position < data.end {
            let wanted = usize::try_from(data.end - position).unwrap_or(SCAN_BYTES).min(SCAN_BYTES);
            let read = file.read_at_most(&mut bytes[..wanted], position)?;
            if let Some(last) = bytes[..read].iter().rposition(|&byte| byte != 0) {
                end = position + last as u64 + 1;
            }
            position += read.max(1) as u64;
        }
    }
    Ok(end)
}

/// Offset at which records begin again behind a damaged record that the mark had promised.
fn find_rest(file: &dyn StoreFile, walk: &WholeRecords, mark: &Mark, end: u64) -> io::Result<Option<u64>> {
    let mut offset = walk.kept_bytes + 1;
    let mut bytes = vec![0; SCAN_BYTES + RECORD_HEADER_BYTES];
    while offset < end {
        let read = file.read_at_most(&mut bytes, offset)?;
        for at in 0..SCAN_BYTES.min(read) {
            let begins =
                bytes.get(at..read).and_then(RecordHeader::read).is_some_and(|it| is_likely(&it, mark));
            let here = offset + at as u64;
            if begins && here < end && is_chain(file, here, mark, end)? {
                return Ok(Some(here));
            }
        }
        offset += SCAN_BYTES as u64;
    }
    Ok(None)
}

fn is_likely(header: &RecordHeader, mark: &Mark) -> bool {
    let at = header.timestamp();
    header.nanoseconds < 1_000_000_000
        && header.caplen <= CAPLEN_MAX
        && header.caplen <= header.len
        && at >= Timestamp(mark.first.ns().saturating_sub(CHAIN_TIME_NS))
        && at <= mark.last.plus_ns(CHAIN_TIME_NS)
}

fn is_chain(file: &dyn StoreFile, mut offset: u64, mark: &Mark, end: u64) -> io::Result<bool> {
    for _ in 0..CHAIN_RECORDS {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        file.read_at_most(&mut bytes, offset)?;
        match RecordHeader::read(&bytes) {
            Some(header) if is_likely(&header, mark) => offset += header.record_bytes() as u64,
            _ => return Ok(false),
        }
        if offset >= end {
            return Ok(offset == end);
        }
    }
    Ok(true)
}

/// The next name after `name` that no segment has.
fn next_free_name(store: &Store, name: &SegmentName) -> SegmentName {
    let is_taken = |name: &SegmentName| store.is_sealed(name) || store.is_open(name);
    (1..PIECES_MAX)
        .map(|later| SegmentName { opened: name.opened.plus_ns(later), lane: name.lane })
        .find(|name| !is_taken(name))
        .unwrap_or(SegmentName { opened: name.opened.plus_ns(PIECES_MAX), lane: name.lane })
}

/// Writes the records in `range` to an open segment of their own, with a mark that promises them.
fn write_piece(
    store: &Store,
    piece: &SegmentName,
    link_type: LinkType,
    file: &dyn StoreFile,
    range: std::ops::Range<u64>,
) -> Result<(), StoreError> {
    let path = store.open_path(piece);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let copy = || {
        let output = store.files().open(&path, OpenMode::Create)?;
        output.write_all_at(&file_header(link_type), 0)?;
        let (mut bytes, mut committed_bytes) = (vec![0; SCAN_BYTES], FILE_HEADER_BYTES as u64);
        let mut from = range.start;
        while from < range.end {
            let wanted = usize::try_from(range.end - from).unwrap_or(SCAN_BYTES).min(SCAN_BYTES);
            let read = file.read_at_most(&mut bytes[..wanted], from)?;
            if read == 0 {
                break;
            }
            output.write_all_at(&bytes[..read], committed_bytes)?;
            from += read as u64;
            committed_bytes += read as u64;
        }
        output.sync_all()?;
        let mark = Mark { committed_bytes, records: 0, first: Timestamp::MIN, last: Timestamp::MAX };
        store.files().write(&store.mark_path(piece), &mark.to_file())
    };
    copy().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netrewind_store::PcapWriter;

    const PROMISED: u32 = 400;

    fn segment() -> (Vec<u8>, Vec<u64>) {
        let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
        let mut ends = vec![FILE_HEADER_BYTES as u64];
        for number in 0..500u32 {
            let caplen = 60 + number % 1400;
            let header =
                RecordHeader { seconds: 1_700_000_000 + number, nanoseconds: number, caplen, len: caplen };
            writer.write(&header, &vec![number as u8 | 1; caplen as usize]).unwrap();
            ends.push(ends.last().unwrap() + header.record_bytes() as u64);
        }
        (writer.finish().unwrap(), ends)
    }

    /// Recovers a store with one open segment; returns the seconds in each sealed segment, and the events.
    fn recovered(
        bytes: &[u8],
        committed_bytes: u64,
    ) -> (Vec<Vec<u32>>, Vec<Event>, Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let name = SegmentName { opened: Timestamp::new(1_700_000_000, 0), lane: 1 };
        store.prepare_folder(&name).unwrap();
        std::fs::write(store.open_path(&name), bytes).unwrap();
        if committed_bytes > 0 {
            let first = Timestamp::new(1_700_000_000, 0);
            let last = Timestamp::new(1_700_000_000 + PROMISED, 0);
            let mark = Mark { committed_bytes, records: u64::from(PROMISED), first, last };
            std::fs::write(store.mark_path(&name), mark.to_bytes()).unwrap();
        }
        let mut events = Vec::new();
        let names = recover(&store, &mut |event| events.push(event)).unwrap();
        let sealed: Vec<_> = ListedSegment::all(&store)
            .unwrap()
            .iter()
            .filter(|it| it.state == SegmentState::Sealed)
            .map(|it| it.name)
            .collect();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>(), sealed.iter().collect());
        let numbers = sealed.iter().map(|name| {
            let bytes = std::fs::read(store.sealed_path(name)).unwrap();
            let mut reader = RecordReader::new(&bytes[..]).unwrap();
            let mut numbers = Vec::new();
            while let Some(record) = reader.next_record().unwrap() {
                numbers.push(record.header.nanoseconds);
            }
            numbers
        });
        (numbers.collect(), events, store.clone(), folder)
    }

    #[test]
    fn whole_records_are_kept_and_the_torn_tail_and_reserved_space_are_cut() {
        let (bytes, ends) = segment();
        let committed = ends[PROMISED as usize];
        for torn in [0, 1, 15, 16, 40] {
            let mut image = bytes[..ends[450] as usize].to_vec();
            image.extend_from_slice(&bytes[ends[450] as usize..ends[450] as usize + torn]);
            image.resize(4 << 20, 0);
            let (numbers, events, ..) = recovered(&image, committed);
            assert_eq!(numbers, [(0..450).collect::<Vec<_>>()], "{torn}");
            let Event::Recover { committed_bytes, kept_bytes, cut_bytes, records, first, last, .. } =
                &events[0]
            else {
                panic!()
            };
            assert_eq!((*committed_bytes, *kept_bytes, *records), (committed, ends[450], 450));
            // The last bytes of the torn record may be zeros, which look like reserved space.
            assert!(*cut_bytes <= torn as u64 && *cut_bytes + 4 > torn as u64, "{cut_bytes} of {torn}");
            assert_eq!(*first, Timestamp::new(1_700_000_000, 0));
            assert_eq!(*last, Timestamp::new(1_700_000_449, 449));
        }
    }

    #[test]
    fn behind_the_mark_a_lost_sector_ends_the_segment_and_before_it_none_does() {
        let (bytes, ends) = segment();
        let lost = (ends[420] / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let mut image = bytes.clone();
        image[lost as usize..(lost + SECTOR_BYTES) as usize].fill(0);
        let kept = ends.iter().filter(|&&end| end <= lost).count() as u32 - 1;
        let (numbers, ..) = recovered(&image, ends[PROMISED as usize]);
        assert_eq!(numbers, [(0..kept).collect::<Vec<_>>()]);
        // Zeros inside a packet that was promised are the packet's own.
        let mut image = bytes.clone();
        let within = ends[390] as usize + RECORD_HEADER_BYTES;
        image[within..ends[391] as usize].fill(0);
        let (numbers, ..) = recovered(&image, ends[PROMISED as usize]);
        assert_eq!(numbers, [(0..500).collect::<Vec<_>>()]);
    }

    #[test]
    fn damage_to_what_was_promised_costs_the_damaged_records_only() {
        let (mut bytes, ends) = segment();
        let at = ends[100] as usize + 8;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let (numbers, events, ..) = recovered(&bytes, ends[PROMISED as usize]);
        assert_eq!(numbers, [(0..100).collect::<Vec<_>>(), (101..400).collect()]);
        let cut: u64 = events
            .iter()
            .map(|it| if let Event::Recover { cut_bytes, .. } = it { *cut_bytes } else { 0 })
            .sum();
        assert_eq!(cut, ends[101] - ends[100]);
    }

    #[test]
    fn an_empty_segment_goes_and_a_headless_one_stays_where_it_promised_something() {
        for image in [vec![], vec![0; 8192], file_header(LinkType::RAW).to_vec()] {
            let (numbers, _, store, _folder) = recovered(&image, 0);
            assert!(numbers.is_empty() && ListedSegment::all(&store).unwrap().is_empty());
        }
        let (mut bytes, ends) = segment();
        bytes[0] = 0;
        let (numbers, events, store, _folder) = recovered(&bytes, ends[9]);
        assert!(numbers.is_empty() && matches!(events[..], [Event::DiskError { .. }]));
        assert_eq!(ListedSegment::all(&store).unwrap().len(), 1);
    }
}
