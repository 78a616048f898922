//! An archive in a folder, laid out as `recorder/archive/FORMAT.md` says, out of a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netrewind_archive::{ArchiveObject, LogbookPiece, StoreKeys};
use netrewind_index::{HourIndex, restamped};
use netrewind_store::Store;
use netrewind_store::catalog::Hour;
use netrewind_store::files::FileStamp;
use netrewind_store::store::{HourFiles, ListedSegment, SegmentStamps};

use super::{logbook_days, netrewind};

/// Lines of a piece of the logbook.
const LINES: usize = 7;

/// An archive.
pub struct Archive {
    pub folder: tempfile::TempDir,
    pub id: String,
    keys: StoreKeys,
}

impl Archive {
    pub fn of(store: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = Store::open_to_read(store).expect("a store");
        let id = opened.identity().id.clone();
        let archive = Self { folder, keys: StoreKeys::new(&id).expect("an id"), id };
        archive.add(store);
        archive
    }

    /// Adds what a store has.
    pub fn add(&self, store: &Path) {
        let opened = Store::open_to_read(store).expect("a store");
        let keys = StoreKeys::new(&opened.identity().id).expect("an id");
        let put = |object: &ArchiveObject, bytes: &[u8]| {
            let path = self.folder.path().join(keys.key(object));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        };
        put(&ArchiveObject::Identity, &fs::read(store.join("store.toml")).expect("read"));
        let mut stamps = BTreeMap::new();
        for segment in ListedSegment::all(&opened).expect("segments").iter().filter(|it| it.has_index) {
            let name = segment.name;
            let file = fs::read(opened.complete_path(&name)).expect("a segment");
            let index = fs::read(opened.index_path(&name)).expect("an index");
            let stamp = |bytes: &[u8]| FileStamp { bytes: bytes.len() as u64, ..FileStamp::default() };
            stamps.insert(name, SegmentStamps { segment: stamp(&file), index: stamp(&index) });
            put(&ArchiveObject::Segment { name, is_cold: segment.is_cold }, &file);
            put(&ArchiveObject::Index(name), &index);
        }
        for hour in HourFiles::of(&opened).hours().expect("hours") {
            let file = HourFiles::of(&opened).open(hour).expect("an hour").expect("an hour");
            let bytes = restamped(&file.read_all().expect("read"), &|name| stamps.get(name).copied());
            let bytes = bytes.expect("an hour");
            let known = HourIndex::open(&bytes[..]).expect("an hour");
            // One that does not speak of all has to be listed.
            let of_hour = stamps.keys().filter(|name| Hour::of(name.opened) == hour);
            if of_hour.eq(known.segments().iter().map(|segment| &segment.name)) {
                put(&ArchiveObject::Hour(hour), &bytes);
            }
        }
        for day in logbook_days(store) {
            let text = fs::read_to_string(&day).expect("lines");
            let date = day.file_stem().expect("a date").to_string_lossy().into_owned();
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let mut begin = 0;
            for some in lines.chunks(LINES) {
                let lines = some.concat();
                let end = begin + lines.len() as u64;
                let piece = LogbookPiece { date: date.clone(), begin, end };
                let packed = zstd::bulk::compress(lines.as_bytes(), 3).expect("compressed");
                put(&ArchiveObject::Logbook(piece), &packed);
                begin = end;
            }
        }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    /// The objects whose names end so.
    pub fn objects(&self, end: &str) -> Vec<PathBuf> {
        let mut found = super::files_below(&self.folder.path().join(self.keys.everything()));
        found.retain(|path| path.display().to_string().ends_with(end));
        found
    }

    /// Arguments that name it, with a cache of its own in this folder.
    pub fn arguments(&self, cache: &Path) -> Vec<String> {
        ["--archive", &self.url(), "--archive-cache", &cache.display().to_string()]
            .map(str::to_owned)
            .to_vec()
    }
}

/// Compresses a store's segments.
pub fn compress(store: &Path) {
    let output = netrewind().arg("compress").arg("--store").arg(store).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
