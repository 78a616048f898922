//! The folder of the tables: a folder for each hour, as engines that know Hive's partitions expect it.

use std::io;
use std::path::{Path, PathBuf};

use netrewind_catalog::condition::Condition;
use netrewind_catalog::rollup::framing::identity;
use netrewind_catalog::{Catalog, record};
use netrewind_flows::conversation::RangeEnd;
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::files::OpenMode;
use netrewind_store::{Store, Timestamp};
use parquet::file::metadata::KeyValue;

use crate::TablesError;
use crate::documents::Documents;
use crate::part::{DocumentDecoder, HourTimes, write_part};
use crate::partial::PartialFile;

/// Folder of all tables of flows, with the version of their columns.
const FLOWS: &str = "flows/v1";
/// End of the names of whole files.
const EXTENSION: &str = ".parquet";
/// Prefix and end of the names of those that are being written. Engines leave out what begins with a dot.
const PARTIAL_PREFIX: &str = ".";
const PARTIAL_EXTENSION: &str = ".partial";
/// Names of the facts in a file.
const RECORDER: &str = "netrewind.recorder";
const HOUR: &str = "netrewind.hour";
const CATALOG: &str = "netrewind.catalog";
const LACKS: &str = "netrewind.lacks";
/// Length of the end of a Parquet file: the length of its footer, 4 bytes, and `PAR1`.
const TAIL_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// Longest footer in which the hour is looked for.
const FOOTER_BYTES_MAX: u64 = 16 << 20;
/// Records between two questions whether to stop.
const RECORDS_BETWEEN_QUESTIONS: u64 = 1024;

/// Folder in which hours of one store or several are exported.
#[derive(Clone, Debug)]
pub struct TablesFolder(PathBuf);

/// An hour that is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedHour {
    /// Its folder.
    pub folder: PathBuf,
    /// Rows in its files.
    pub rows: u64,
    /// Its files.
    pub parts: u32,
    /// Their bytes.
    pub bytes: u64,
    /// True if a file was written; otherwise all of them were there, the same.
    pub is_new: bool,
    /// Parts of the hour that are not in the files, in words.
    pub lacks: Vec<String>,
}

impl TablesFolder {
    /// Tables below this folder, which is made when the first hour is exported.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The folder of an hour of a store: `flows/v1/recorder=ID/date=2026-11-22/hour=09`.
    pub fn hour_path(&self, store: &Store, hour: Hour) -> PathBuf {
        let recorder = format!("recorder={}", store.identity().id);
        let date = format!("date={}", hour.start().date());
        self.0.join(FLOWS).join(recorder).join(date).join(format!("hour={}", hour.of_day()))
    }

    /// True if the hour has been exported as the catalog has it now, by what its first file says of itself.
    pub fn is_current(&self, store: &Store, manifest: &Manifest) -> bool {
        let path = self.hour_path(store, manifest.hour).join(part_name(0));
        identity_text(manifest).is_some_and(|text| footer_has(store, &path, text.as_bytes()).unwrap_or(false))
    }

    /// Exports an hour. Files that are there already with the same bytes stay; others are replaced once all new ones are whole.
    /// What lacks records that cannot be read does not replace anything.
    pub fn export(
        &self,
        store: &Store,
        catalog: &dyn Catalog,
        manifest: &Manifest,
        is_to_stop: &dyn Fn() -> bool,
    ) -> Result<ExportedHour, TablesError> {
        let folder = self.hour_path(store, manifest.hour);
        store.files().create_folders(&folder).map_err(TablesError::at(&folder))?;
        let mut export = HourExport::new(store, manifest, &folder);
        match export.read(catalog, is_to_stop) {
            Ok(()) => export.publish(),
            Err(error) => {
                export.give_up();
                Err(error)
            }
        }
    }
}

fn part_name(number: usize) -> String {
    format!("part-{number}{EXTENSION}")
}

fn partial_name(number: usize) -> String {
    format!("{PARTIAL_PREFIX}part-{number}{PARTIAL_EXTENSION}")
}

/// Text by which a file names the state of the catalog's hour that it was made of.
fn identity_text(manifest: &Manifest) -> Option<String> {
    identity(manifest).map(|identity| format!("{} {identity:016x}", manifest.hour))
}

/// True if the footer of a Parquet file has these bytes somewhere.
fn footer_has(store: &Store, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let file = store.files().open(path, OpenMode::Read)?;
    let length = file.status()?.bytes;
    let mut tail = [0; TAIL_BYTES];
    let Some(end) = length.checked_sub(TAIL_BYTES as u64) else { return Ok(false) };
    file.read_exact_at(&mut tail, end)?;
    let [a, b, c, d, magic @ ..] = tail;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    let from = end.checked_sub(footer).filter(|_| magic == *MAGIC && footer <= FOOTER_BYTES_MAX);
    let Some(from) = from else { return Ok(false) };
    let mut text = vec![0; usize::try_from(footer).unwrap_or(0)];
    file.read_exact_at(&mut text, from)?;
    Ok(text.windows(bytes.len()).any(|window| window == bytes))
}

/// An hour that is being exported.
struct HourExport<'e> {
    store: &'e Store,
    manifest: &'e Manifest,
    folder: &'e Path,
    times: HourTimes,
    documents: Documents,
    parts: Vec<PartialFile>,
    rows: u64,
    /// Records that could not be read, and those of them that a file has been told of.
    damaged: u64,
    told: u64,
}

impl<'e> HourExport<'e> {
    fn new(store: &'e Store, manifest: &'e Manifest, folder: &'e Path) -> Self {
        let end = manifest.bounds().map(|(_, last)| last.plus_ns(1));
        let times = HourTimes { base_ns: manifest.hour.start().ns(), ending: RangeEnd::at(end) };
        let (documents, parts) = (Documents::default(), Vec::new());
        Self { store, manifest, folder, times, documents, parts, rows: 0, damaged: 0, told: 0 }
    }

    /// Reads the records, and writes all files under other names.
    fn read(&mut self, catalog: &dyn Catalog, is_to_stop: &dyn Fn() -> bool) -> Result<(), TablesError> {
        let (mut decoder, mut seen, mut failed) = (DocumentDecoder::default(), 0_u64, None);
        let (store, manifest) = (self.store, self.manifest);
        let mut take = |document: &[u8]| {
            seen += 1;
            if seen.is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && is_to_stop() {
                failed = Some(TablesError::Stopped);
                return false;
            }
            let Some((part, _)) = record::read(document, decoder.beside(), self.times.base_ns) else {
                self.damaged += 1;
                return true;
            };
            if !self.documents.has_room(document.len()) {
                failed = self.write_part().err();
            }
            self.documents.push(part.body.first(), document);
            failed.is_none()
        };
        let everything = Condition::Everything;
        let visited = catalog.visit(store, manifest, &everything, Timestamp::MIN, Timestamp::MAX, &mut take);
        if let Some(error) = failed {
            return Err(error);
        }
        visited.map_err(|reason| TablesError::Unreadable { hour: manifest.hour, reason })?;
        self.write_part()
    }

    fn write_part(&mut self) -> Result<(), TablesError> {
        let path = self.folder.join(partial_name(self.parts.len()));
        let file = PartialFile::begin(self.store, &path)?;
        let facts = self.facts();
        let written = write_part(file, &mut self.documents, self.times, facts);
        let (file, rows) = written.map_err(|error| {
            // It may be the full disk that ended it. The next attempt overwrites what stays.
            let _ = self.store.files().remove_file(&path);
            TablesError::writing(&path)(error)
        })?;
        self.told = self.damaged;
        self.rows += rows;
        self.parts.push(file);
        self.documents.clear();
        Ok(())
    }

    /// Facts of a file about itself.
    fn facts(&self) -> Vec<KeyValue> {
        let mut lacks = self.manifest.lacks.clone();
        lacks.extend(unreadable(self.damaged - self.told));
        let fact = |name: &str, value: String| KeyValue::new(name.to_owned(), value);
        let mut facts = vec![
            fact(RECORDER, self.store.identity().id.clone()),
            fact(HOUR, self.manifest.hour.to_string()),
        ];
        facts.extend(identity_text(self.manifest).map(|text| fact(CATALOG, text)));
        facts.extend((!lacks.is_empty()).then(|| fact(LACKS, lacks.join("; "))));
        facts
    }

    /// Gives the files their names, the first one last: where it is, all are.
    fn publish(mut self) -> Result<ExportedHour, TablesError> {
        let (store, folder) = (self.store, self.folder);
        let mut exported = ExportedHour {
            folder: folder.to_owned(),
            rows: self.rows,
            parts: u32::try_from(self.parts.len()).unwrap_or(u32::MAX),
            bytes: self.parts.iter().map(PartialFile::bytes).sum(),
            is_new: false,
            lacks: self.manifest.lacks.clone(),
        };
        let parts = std::mem::take(&mut self.parts);
        exported.lacks.extend(unreadable(self.damaged));
        if self.damaged > 0 && store.files().exists(&folder.join(part_name(0))) {
            exported.lacks.push("so the files that are there already stay as they are".to_owned());
            parts.into_iter().for_each(|part| part.give_up(store));
            return Ok(exported);
        }
        let count = parts.len();
        for (number, part) in parts.into_iter().enumerate().rev() {
            let path = folder.join(part_name(number));
            if part.is_same_as(store, &path).map_err(TablesError::at(&path))? {
                part.give_up(store);
            } else {
                part.publish(store, &path)?;
                exported.is_new = true;
            }
        }
        exported.is_new |= self.remove_spare_parts(count)?;
        if exported.is_new {
            store.files().sync_folder(folder).map_err(TablesError::at(folder))?;
        }
        Ok(exported)
    }

    /// Removes files that the hour had when it had more records; true if there were any.
    fn remove_spare_parts(&self, count: usize) -> Result<bool, TablesError> {
        let mut are_there = false;
        for number in count.. {
            let path = self.folder.join(part_name(number));
            match self.store.files().remove_file(&path) {
                Ok(()) => are_there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(TablesError::at(&path)(error)),
            }
        }
        Ok(are_there)
    }

    fn give_up(self) {
        self.parts.into_iter().for_each(|part| part.give_up(self.store));
    }
}

/// Says that records could not be read, if there were any.
fn unreadable(damaged: u64) -> Option<String> {
    (damaged > 0).then(|| format!("{damaged} of its records, which cannot be read"))
}
