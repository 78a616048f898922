//! A store in a folder, in an archive, or in both, as one: each part is read in the folder where that has it, and otherwise in the
//! archive.
//!
//! **Invariant:** nothing is written into an archive here. A segment is in one of the two places: all its files are.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::identity::IDENTITY;
use super::listing::{is_date, sealed_stem};
use super::{
    COLD_EXTENSION, INDEX_EXTENSION, LINES_EXTENSION, LOGBOOK, OPEN_EXTENSION, SEALED_EXTENSION, SEGMENTS,
    hour_files,
};
use crate::SegmentName;
use crate::archived::{
    ArchiveFacts, ArchivedDay, ArchivedFile, ArchivedLines, ArchivedListing, ArchivedPart, ArchivedSegment,
    ArchivedStore, FolderFacts, status_of,
};
use crate::catalog::Hour;
use crate::files::{FileKind, FileStatus, FileSystemSpace, Files, OpenMode, StoreFile, unless_missing};

/// The files of a store that lies in a folder, in an archive, or in both.
#[derive(Clone, Debug)]
pub struct JoinedFiles {
    /// The files of the folder; absent where there is none.
    local: Option<Arc<dyn Files>>,
    archived: Arc<dyn ArchivedStore>,
    root: PathBuf,
}

/// A name within a store, as far as an archive can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StorePart {
    Root,
    Identity,
    Segments,
    Day(String),
    Segment(SegmentName, SegmentFileKind),
    Hour(Hour),
    Logbook,
    Lines(String),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SegmentFileKind {
    Sealed,
    Cold,
    Open,
    Index,
}

fn missing<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

fn file_in_day(date: &str, name: &str) -> StorePart {
    let kinds = [
        (COLD_EXTENSION, SegmentFileKind::Cold),
        (OPEN_EXTENSION, SegmentFileKind::Open),
        (SEALED_EXTENSION, SegmentFileKind::Sealed),
        (INDEX_EXTENSION, SegmentFileKind::Index),
    ];
    for (extension, kind) in kinds {
        if let Some(stem) = name.strip_suffix(extension) {
            return SegmentName::parse(date, stem)
                .map_or(StorePart::Other, |name| StorePart::Segment(name, kind));
        }
    }
    hour_files::hour_of(date, name).map_or(StorePart::Other, StorePart::Hour)
}

impl JoinedFiles {
    /// The store in the folder `root`, joined with what an archive has of it. Without `local` there is no folder: then `root` only
    /// names the archive.
    pub fn new(local: Option<Arc<dyn Files>>, archived: Arc<dyn ArchivedStore>, root: &Path) -> Self {
        Self { local, archived, root: root.to_owned() }
    }

    fn part(&self, path: &Path) -> StorePart {
        let Ok(within) = path.strip_prefix(&self.root) else { return StorePart::Other };
        let names: Option<Vec<&str>> = within.iter().map(|name| name.to_str()).collect();
        match names.as_deref() {
            Some([]) => StorePart::Root,
            Some([name]) if *name == IDENTITY => StorePart::Identity,
            Some([name]) if *name == SEGMENTS => StorePart::Segments,
            Some([name]) if *name == LOGBOOK => StorePart::Logbook,
            Some([folder, date]) if *folder == SEGMENTS && is_date(date) => {
                StorePart::Day((*date).to_owned())
            }
            Some([folder, date, name]) if *folder == SEGMENTS && is_date(date) => file_in_day(date, name),
            Some([folder, name]) if *folder == LOGBOOK => match name.strip_suffix(LINES_EXTENSION) {
                Some(date) if is_date(date) => StorePart::Lines(date.to_owned()),
                _ => StorePart::Other,
            },
            _ => StorePart::Other,
        }
    }

    /// The answer of the folder; `None` where it has no such file.
    fn locally<T>(&self, ask: impl FnOnce(&dyn Files) -> io::Result<T>) -> io::Result<Option<T>> {
        self.local.as_deref().map_or(Ok(None), |local| unless_missing(ask(local)))
    }

    /// The folder, to be written to.
    fn writable(&self) -> io::Result<&dyn Files> {
        let refused = || io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "an archive is only read here");
        self.local.as_deref().ok_or_else(refused)
    }

    /// True if a segment lies in the folder, in whatever state.
    fn is_local(&self, name: &SegmentName) -> bool {
        let Some(local) = self.local.as_deref() else { return false };
        let folder = self.root.join(SEGMENTS).join(name.date());
        let kinds = [SEALED_EXTENSION, COLD_EXTENSION, OPEN_EXTENSION];
        kinds.iter().any(|kind| local.exists(&folder.join(name.stem() + kind)))
    }

    /// A segment's file in the archive, if it counts.
    fn archived_segment(&self, name: &SegmentName, kind: SegmentFileKind) -> Option<ArchivedSegment> {
        let listed = self.archived.listing().segment(name)?;
        let has = match kind {
            SegmentFileKind::Sealed => !listed.is_cold,
            SegmentFileKind::Cold => listed.is_cold,
            SegmentFileKind::Index => true,
            SegmentFileKind::Open => false,
        };
        (has && !self.is_local(name)).then_some(listed)
    }

    /// Facts of what the archive alone has.
    fn archived_status(&self, part: &StorePart) -> io::Result<FileStatus> {
        let listing = self.archived.listing();
        let folder = || Ok(status_of(FileKind::Folder, 0));
        let file =
            |bytes: Option<u64>| bytes.map_or_else(missing, |bytes| Ok(status_of(FileKind::File, bytes)));
        match part {
            StorePart::Root | StorePart::Segments | StorePart::Logbook => folder(),
            StorePart::Day(date) if listing.days.contains_key(date) => folder(),
            StorePart::Identity => file(Some(self.archived.identity()?.bytes())),
            StorePart::Segment(name, kind) => {
                let found = self.archived_segment(name, *kind);
                file(found.map(|found| match kind {
                    SegmentFileKind::Index => found.index_bytes,
                    _ => found.bytes,
                }))
            }
            StorePart::Hour(hour) => file(listing.hour_bytes(*hour)),
            StorePart::Lines(date) => {
                file(listing.logbook.get(date).map(|pieces| pieces.iter().map(ArchivedLines::bytes).sum()))
            }
            StorePart::Day(_) | StorePart::Other => missing(),
        }
    }

    /// Facts of what has a name; those of a folder change with what either place has.
    fn joined_status(&self, path: &Path, local: Option<FileStatus>) -> io::Result<FileStatus> {
        let part = self.part(path);
        let is_folder = matches!(part, StorePart::Segments | StorePart::Day(_));
        match (local, is_folder) {
            (Some(local), false) => Ok(local),
            (None, false) => self.archived_status(&part),
            (local, true) => {
                if part == StorePart::Segments {
                    self.archived.refresh();
                }
                let listing = self.archived.listing();
                let stamp = match &part {
                    StorePart::Day(date) => listing.days.get(date).map(|day| day.stamp),
                    // Of their names, in a text that no name can be in.
                    _ => Some(xxh3_64(names_of(&listing, &part).join("/").as_bytes()).cast_signed()),
                };
                match (local, stamp) {
                    (Some(local), None) => Ok(local),
                    (Some(local), _) if !local.is_folder() => Ok(local),
                    (None, None) => missing(),
                    (local, Some(stamp)) => {
                        let status = local.unwrap_or_else(|| status_of(FileKind::Folder, 0));
                        Ok(FileStatus { modified_ns: status.modified_ns ^ stamp, ..status })
                    }
                }
            }
        }
    }

    /// Names of the folder and the archive together.
    fn joined_names(&self, part: &StorePart, local: Vec<String>) -> Vec<String> {
        let listing = self.archived.listing();
        let stem = |name: &String| sealed_stem(name).or(name.strip_suffix(OPEN_EXTENSION)).map(str::to_owned);
        let stems: BTreeSet<String> = local.iter().filter_map(stem).collect();
        let mut names: BTreeSet<String> = local.into_iter().collect();
        let is_of_local = |name: &str| {
            let stem = sealed_stem(name).or(name.strip_suffix(INDEX_EXTENSION));
            stem.is_some_and(|stem| stems.contains(stem))
        };
        names.extend(names_of(&listing, part).into_iter().filter(|name| !is_of_local(name)));
        names.into_iter().collect()
    }
}

/// Names that an archive has in a folder of the store.
fn names_of(listing: &ArchivedListing, part: &StorePart) -> Vec<String> {
    match part {
        StorePart::Root => [IDENTITY, LOGBOOK, SEGMENTS].map(str::to_owned).to_vec(),
        StorePart::Segments => listing.days.keys().cloned().collect(),
        StorePart::Day(date) => {
            let Some(day) = listing.days.get(date) else { return Vec::new() };
            let files = day.segments.iter().flat_map(|(name, segment)| {
                let kind = if segment.is_cold { COLD_EXTENSION } else { SEALED_EXTENSION };
                [name.stem() + kind, name.stem() + INDEX_EXTENSION]
            });
            files.chain(day.hours.keys().map(|hour| hour_files::name_of(*hour))).collect()
        }
        StorePart::Logbook => listing.logbook.keys().map(|date| format!("{date}{LINES_EXTENSION}")).collect(),
        _ => Vec::new(),
    }
}

impl Files for JoinedFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StoreFile>> {
        if mode != OpenMode::Read {
            return self.writable()?.open(path, mode);
        }
        let (part, local) = (self.part(path), self.locally(|local| local.open(path, mode))?);
        // Not asked for before it is needed: the identity is read while the archive is listed.
        let listing = || self.archived.listing();
        let opened = match (&part, local) {
            (StorePart::Root | StorePart::Segments | StorePart::Day(_) | StorePart::Logbook, local) => {
                let status =
                    self.joined_status(path, local.as_ref().map(|file| file.status()).transpose()?)?;
                let (files, path) = (self.clone(), path.to_owned());
                return Ok(Box::new(ArchivedFile::Folder(Box::new(JoinedFolder {
                    local,
                    files,
                    path,
                    status,
                }))));
            }
            (_, Some(local)) => return Ok(local),
            (StorePart::Identity, None) => ArchivedFile::Copy(self.archived.identity()?),
            (StorePart::Segment(name, kind), None) => {
                let Some(found) = self.archived_segment(name, *kind) else { return missing() };
                match kind {
                    SegmentFileKind::Index => ArchivedFile::Copy(self.archived.index(name, found)?),
                    _ if found.bytes == 0 => {
                        return Err(io::Error::other(
                            "the archive has its index and not its file, which was lost",
                        ));
                    }
                    _ => ArchivedFile::Segment(self.archived.segment(name, found)),
                }
            }
            (StorePart::Hour(hour), None) => {
                let Some(bytes) = listing().hour_bytes(*hour) else { return missing() };
                ArchivedFile::Copy(self.archived.hour(*hour, bytes)?)
            }
            (StorePart::Lines(date), None) => {
                let listing = listing();
                let Some(pieces) = listing.logbook.get(date) else { return missing() };
                let all: Vec<_> =
                    pieces.iter().map(|piece| ArchivedPart::Lines(date.clone(), piece.clone())).collect();
                self.archived.will_open(&all);
                ArchivedFile::Lines(ArchivedDay::new(&self.archived, date, pieces))
            }
            (StorePart::Other, None) => return missing(),
        };
        Ok(Box::new(opened))
    }

    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        self.writable()?.create_direct(path)
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        self.joined_status(path, self.locally(|local| local.status(path))?)
    }

    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        self.joined_status(path, self.locally(|local| local.link_status(path))?)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let part = self.part(folder);
        let local = self.locally(|local| local.names(folder))?;
        match (&part, local) {
            (StorePart::Root | StorePart::Segments | StorePart::Day(_) | StorePart::Logbook, local) => {
                if part == StorePart::Segments {
                    self.archived.refresh();
                }
                let names = self.joined_names(&part, local.unwrap_or_default());
                let is_gone = names.is_empty() && matches!(part, StorePart::Day(_));
                if is_gone { missing() } else { Ok(names) }
            }
            (_, Some(names)) => Ok(names),
            (_, None) => missing(),
        }
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.writable()?.create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.writable()?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.writable()?.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.writable()?.remove_folder(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.writable()?.remove_tree(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.locally(|local| local.canonical(path))?.map_or_else(missing, Ok)
    }

    fn set_group(&self, path: &Path, group: u32) -> io::Result<()> {
        self.writable()?.set_group(path, group)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.writable()?.set_mode(path, mode)
    }

    fn space(&self, path: &Path) -> Option<FileSystemSpace> {
        self.local.as_deref()?.space(path)
    }

    fn frees_when_synced(&self, path: &Path) -> bool {
        self.local.as_deref().is_some_and(|local| local.frees_when_synced(path))
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.writable()?.sync_file_system(path)
    }

    fn will_open(&self, paths: &mut dyn Iterator<Item = PathBuf>) {
        let listing = self.archived.listing();
        let mut parts: Vec<ArchivedPart> = Vec::new();
        for path in paths {
            match self.part(&path) {
                StorePart::Segment(name, kind) => {
                    let found = self.archived_segment(&name, kind);
                    parts.extend(found.map(|found| ArchivedPart::Segment(name, found)));
                }
                StorePart::Hour(hour) if self.local.as_deref().is_none_or(|local| !local.exists(&path)) => {
                    parts.extend(listing.hour_bytes(hour).map(|bytes| ArchivedPart::Hour(hour, bytes)));
                }
                _ => {}
            }
        }
        parts.dedup();
        self.archived.will_open(&parts);
    }

    fn archive(&self) -> Option<ArchiveFacts> {
        Some(ArchiveFacts { is_alone: self.local.is_none(), ..self.archived.facts() })
    }

    fn unlisted(&self) -> Vec<(PathBuf, String)> {
        let faults = self.archived.listing();
        faults.faults.iter().map(|(part, reason)| (PathBuf::from(part), reason.clone())).collect()
    }
}

/// A folder of which an archive has some of the files.
#[derive(Debug)]
struct JoinedFolder {
    local: Option<Box<dyn StoreFile>>,
    files: JoinedFiles,
    path: PathBuf,
    status: FileStatus,
}

impl FolderFacts for JoinedFolder {
    fn status(&self) -> FileStatus {
        self.status
    }

    fn status_within(&self, name: &str) -> io::Result<FileStatus> {
        let local =
            self.local.as_ref().map_or(Ok(None), |local| unless_missing(local.status_within(name)))?;
        match local {
            Some(found) => Ok(found),
            None => self.files.archived_status(&self.files.part(&self.path.join(name))),
        }
    }
}
