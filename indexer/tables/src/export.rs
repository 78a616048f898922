//! Exporting an hour: a folder for each, as engines that know Hive's partitions expect it.

use std::path::PathBuf;

use netrewind_catalog::condition::Condition;
use netrewind_catalog::rollup::framing::identity;
use netrewind_catalog::{Catalog, record};
use netrewind_flows::conversation::RangeEnd;
use netrewind_store::catalog::Manifest;
use netrewind_store::{Store, Timestamp};
use parquet::file::metadata::KeyValue;

use crate::TablesError;
use crate::documents::Documents;
use crate::part::{DocumentDecoder, HourTimes, write_part};
use crate::place::{HourPlace, OpenPart, TablesPlace};

/// Names of the facts in a file.
const RECORDER: &str = "netrewind.recorder";
const HOUR: &str = "netrewind.hour";
const CATALOG: &str = "netrewind.catalog";
const LACKS: &str = "netrewind.lacks";
/// Records between two questions whether to stop.
const RECORDS_BETWEEN_QUESTIONS: u64 = 1024;

/// An hour that is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedHour {
    /// Its folder, or the URL below which its objects are.
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

/// True if the hour has been exported there as the catalog has it now, by what its first file says of itself.
pub fn is_current(place: &TablesPlace, store: &Store, manifest: &Manifest) -> bool {
    let place = HourPlace::new(store, place, manifest.hour);
    identity_text(manifest).is_some_and(|text| place.footer_has(text.as_bytes()).unwrap_or(false))
}

/// Exports an hour. Files that are there already with the same bytes stay. In a folder, others are replaced once all new ones are whole;
/// in object storage, the first file is written last. What lacks records that cannot be read does not replace anything, but for an
/// hour of several files in object storage.
pub fn export_hour(
    place: &TablesPlace,
    store: &Store,
    catalog: &dyn Catalog,
    manifest: &Manifest,
    is_to_stop: &dyn Fn() -> bool,
) -> Result<ExportedHour, TablesError> {
    let mut export = HourExport::new(store, manifest, HourPlace::new(store, place, manifest.hour));
    match export.read(catalog, is_to_stop) {
        Ok(()) => export.publish(),
        Err(error) => {
            export.give_up();
            Err(error)
        }
    }
}

/// Text by which a file names the state of the catalog's hour that it was made of.
fn identity_text(manifest: &Manifest) -> Option<String> {
    identity(manifest).map(|identity| format!("{} {identity:016x}", manifest.hour))
}

/// An hour that is being exported.
struct HourExport<'e> {
    store: &'e Store,
    manifest: &'e Manifest,
    place: HourPlace<'e>,
    times: HourTimes,
    documents: Documents,
    /// Files that do not have their names yet, with their numbers.
    parts: Vec<(usize, OpenPart)>,
    /// Files that were begun, and their bytes.
    begun: usize,
    bytes: u64,
    is_new: bool,
    rows: u64,
    /// Records that could not be read, and those of them that a file has been told of.
    damaged: u64,
    told: u64,
}

impl<'e> HourExport<'e> {
    fn new(store: &'e Store, manifest: &'e Manifest, place: HourPlace<'e>) -> Self {
        let end = manifest.bounds().map(|(_, last)| last.plus_ns(1));
        let times = HourTimes { base_ns: manifest.hour.start().ns(), ending: RangeEnd::at(end) };
        Self {
            store,
            manifest,
            place,
            times,
            documents: Documents::default(),
            parts: Vec::new(),
            begun: 0,
            bytes: 0,
            is_new: false,
            rows: 0,
            damaged: 0,
            told: 0,
        }
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
        let number = self.begun;
        let file = self.place.begin(number)?;
        let facts = self.facts();
        let written = write_part(file, &mut self.documents, self.times, facts);
        let (file, rows) = written.map_err(|error| {
            // It may be the full disk that ended it.
            self.place.clear(number);
            TablesError::writing(&self.place.part_path(number))(error)
        })?;
        self.told = self.damaged;
        self.rows += rows;
        self.begun += 1;
        self.bytes += file.bytes();
        if number > 0 && !self.place.keeps_all() {
            // Memory holds two at most.
            self.is_new |= self.place.publish(file, number)?;
        } else {
            self.parts.push((number, file));
        }
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
        let mut exported = ExportedHour {
            folder: self.place.path(),
            rows: self.rows,
            parts: u32::try_from(self.begun).unwrap_or(u32::MAX),
            bytes: self.bytes,
            is_new: self.is_new,
            lacks: self.manifest.lacks.clone(),
        };
        exported.lacks.extend(unreadable(self.damaged));
        let stays = self.place.keeps_all() || self.begun <= 1;
        if self.damaged > 0 && stays && self.place.has(0)? {
            exported.lacks.push("so the files that are there already stay as they are".to_owned());
            self.give_up();
            return Ok(exported);
        }
        for (number, part) in std::mem::take(&mut self.parts).into_iter().rev() {
            exported.is_new |= self.place.publish(part, number)?;
        }
        // Files that the hour had when it had more records.
        for number in self.begun.. {
            if !self.place.remove(number)? {
                break;
            }
            exported.is_new = true;
        }
        if exported.is_new {
            self.place.sync()?;
        }
        Ok(exported)
    }

    fn give_up(self) {
        let Self { place, parts, .. } = self;
        parts.into_iter().for_each(|(_, part)| place.give_up(part));
    }
}

/// Says that records could not be read, if there were any.
fn unreadable(damaged: u64) -> Option<String> {
    (damaged > 0).then(|| format!("{damaged} of its records, which cannot be read"))
}
