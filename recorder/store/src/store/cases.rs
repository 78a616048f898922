//! The folder of cases: holds, packets of cases, and the limits that the recorder has for them.
//!
//! **Invariant:** a file with a case's name is whole: it is written under another name, synced, and renamed.
//!
//! A hold is made by one process while another removes segments. Who makes it writes it first, and then locks each segment for a
//! moment ([`CaseFiles::confirm`]). Who removes a segment locks it, and looks at the holds while it is locked
//! ([`CaseFiles::remove_unless`]). So a segment whose hold is confirmed is removed no more, and nobody waits for the other.

use std::io;
use std::path::{Path, PathBuf};

use super::sharing::PRIVATE_FILE_MODE;
use super::{ListedSegment, SEALED_EXTENSION, Store, at, names_in};
use crate::files::{FileStatus, LockKind, OpenMode, StoreFile, unless_missing};
use crate::hold::{
    CaseFormat, CaseName, Doubt, HOLD_BYTES_MAX, HeldNames, HeldSegment, HoldHead, HoldLimits, HoldText,
};
use crate::replacing::replace;
use crate::seal::{is_summed, summed};
use crate::{SegmentName, StoreError, Timestamp};

const CASES: &str = "cases";
const HOLD_EXTENSION: &str = ".hold";
const UNFINISHED_EXTENSION: &str = ".new";
/// Of packets in pcapng, behind the extension of those in pcap.
const PCAPNG_ENDING: &str = "ng";
const MANIFEST_EXTENSION: &str = ".manifest.json";
const SIGNATURE_EXTENSION: &str = ".sig";
const CASES_LOCK: &str = ".lock";
const LIMITS: &str = ".limits";

/// The files of a store's cases.
#[derive(Clone, Copy, Debug)]
pub struct CaseFiles<'s>(&'s Store);

/// State of a segment that a hold names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It is there, and will not be removed while it is held.
    Kept,
    /// It is not there.
    Gone,
    /// It is perhaps being removed: to be asked again in a moment.
    Unsettled,
}

/// A file of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasePart {
    /// Its packets.
    Packets(CaseFormat),
    /// The evidence manifest of its packets.
    Manifest(CaseFormat),
    /// The signature of the manifest.
    Signature(CaseFormat),
}

/// What the holds of a store take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldAccount {
    /// Cases.
    pub cases: u64,
    /// Held segments that are there, each once.
    pub segments: u64,
    /// Disk space of these, of the packets of cases, and of what is kept for packets that are being written.
    pub bytes: u64,
    /// Holds that cannot be read, by their paths, each with the reason.
    pub faults: Vec<(PathBuf, String)>,
    /// Names that are held, of each case.
    names: Vec<HeldNames>,
}

impl HeldAccount {
    /// True if a hold keeps the segment, or may.
    pub fn may_hold(&self, name: &SegmentName) -> bool {
        self.names.iter().any(|names| names.may_hold(name))
    }
}

impl CasePart {
    const ALL: [Self; 6] = [
        Self::Packets(CaseFormat::Pcap),
        Self::Packets(CaseFormat::Pcapng),
        Self::Manifest(CaseFormat::Pcap),
        Self::Manifest(CaseFormat::Pcapng),
        Self::Signature(CaseFormat::Pcap),
        Self::Signature(CaseFormat::Pcapng),
    ];

    fn extension(self) -> String {
        let packets = |format| match format {
            CaseFormat::Pcap => SEALED_EXTENSION.to_owned(),
            CaseFormat::Pcapng => SEALED_EXTENSION.to_owned() + PCAPNG_ENDING,
        };
        match self {
            Self::Packets(format) => packets(format),
            Self::Manifest(format) => packets(format) + MANIFEST_EXTENSION,
            Self::Signature(format) => packets(format) + MANIFEST_EXTENSION + SIGNATURE_EXTENSION,
        }
    }
}

impl<'s> CaseFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    /// Their folder.
    pub fn folder(&self) -> PathBuf {
        self.0.root().join(CASES)
    }

    /// Path of a case's hold.
    pub fn path_of_hold(&self, case: &CaseName) -> PathBuf {
        self.folder().join(format!("{case}{HOLD_EXTENSION}"))
    }

    /// Path of a file of a case.
    pub fn path(&self, case: &CaseName, part: CasePart) -> PathBuf {
        self.folder().join(format!("{case}{}", part.extension()))
    }

    fn unfinished_path(&self, case: &CaseName, extension: &str) -> PathBuf {
        self.folder().join(format!(".{case}{extension}{UNFINISHED_EXTENSION}"))
    }

    /// Makes sure that the folder exists, durably.
    pub fn prepare(&self) -> Result<(), StoreError> {
        let (folder, files) = (self.folder(), &*self.0.files);
        if at(&folder, files.identity(&folder))?.is_none() {
            self.0.is_in_place()?;
            match files.create_folder(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => at(&folder, created)?,
            }
            at(self.0.root(), files.sync_folder(self.0.root()))?;
        }
        Ok(())
    }

    /// The cases, by name. What else is in the folder is left alone.
    pub fn cases(&self) -> Result<Vec<CaseName>, StoreError> {
        let names = names_in(&*self.0.files, &self.folder())?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(HOLD_EXTENSION)?.parse().ok()).collect())
    }

    /// Facts of a hold's file; `None` where there is none.
    pub fn look(&self, case: &CaseName) -> Result<Option<FileStatus>, StoreError> {
        let path = self.path_of_hold(case);
        at(&path, unless_missing(self.0.files.status(&path)))
    }

    /// A case's hold; `None` where there is none. Damage is told inside.
    pub fn read(&self, case: &CaseName) -> Result<Option<HoldText>, StoreError> {
        let path = self.path_of_hold(case);
        let Some(file) = self.0.open_file(&path)? else { return Ok(None) };
        let found = at(&path, file.status())?;
        if found.bytes > HOLD_BYTES_MAX {
            let text = format!("it has {} bytes, and holds have at most {HOLD_BYTES_MAX}", found.bytes);
            return at(&path, Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let bytes = at(&path, file.read_all())?;
        let changed = Timestamp(u64::try_from(found.changed_ns).unwrap_or(u64::MAX));
        let mut text = HoldText::read(&bytes, changed);
        if let Some(head) = text.head.take_if(|head| head.hold != *case) {
            text.faults.push(format!("it is the hold of {}: somebody has renamed it", head.hold));
            text.head = Some(HoldHead { hold: case.clone(), ..head });
        }
        Ok(Some(text))
    }

    /// Keeps other processes from changing cases while the lock is held.
    pub fn lock(&self) -> Result<Box<dyn StoreFile>, StoreError> {
        let path = self.folder().join(CASES_LOCK);
        let file = at(&path, self.0.files.open(&path, OpenMode::Keep))?;
        at(&path, file.lock())?;
        Ok(file)
    }

    /// Writes a hold, replacing an earlier one of the case.
    pub fn write(&self, head: &HoldHead, segments: &[HeldSegment]) -> Result<(), StoreError> {
        let text = HoldText::write(head, segments);
        self.write_file(&head.hold, HOLD_EXTENSION, text.as_bytes())
    }

    /// Writes a file of a case.
    pub fn write_part(&self, case: &CaseName, part: CasePart, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_file(case, &part.extension(), bytes)
    }

    fn write_file(&self, case: &CaseName, extension: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(&self.unfinished_path(case, extension), &format!("{case}{extension}"), bytes)
    }

    /// Writes a file of the folder under the name `new`, and gives it its own.
    fn replace(&self, new: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        replace(self.0.files(), new, &self.folder().join(name), bytes)?;
        self.sync()
    }

    fn sync(&self) -> Result<(), StoreError> {
        at(&self.folder(), self.0.files.sync_folder(&self.folder()))
    }

    /// Creates the file of a case's packets, under another name. A private one stays its owner's, whoever may read the store.
    pub fn create_packets(
        &self,
        case: &CaseName,
        format: CaseFormat,
        is_private: bool,
    ) -> Result<Box<dyn StoreFile>, StoreError> {
        let new = self.unfinished_path(case, &CasePart::Packets(format).extension());
        let file = at(&new, self.0.files.open(&new, OpenMode::Create))?;
        if is_private {
            at(&new, self.0.files.set_mode(&new, PRIVATE_FILE_MODE))?;
        }
        Ok(file)
    }

    /// Gives the packets, which have been written and synced, their name.
    pub fn finish_packets(&self, case: &CaseName, format: CaseFormat) -> Result<(), StoreError> {
        let extension = CasePart::Packets(format).extension();
        let path = self.path(case, CasePart::Packets(format));
        at(&path, self.0.files.rename(&self.unfinished_path(case, &extension), &path))?;
        self.sync()
    }

    /// A file of a case, open for reading; `None` where there is none.
    pub fn open(&self, case: &CaseName, part: CasePart) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        self.0.open_file(&self.path(case, part))
    }

    /// Disk space of a case's own packets, with what belongs to them, finished or not.
    pub fn packets_disk_bytes(&self, case: &CaseName) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for part in CasePart::ALL {
            for path in [self.path(case, part), self.unfinished_path(case, &part.extension())] {
                bytes += at(&path, unless_missing(self.0.files.status(&path)))?
                    .map_or(0, |found| found.disk_bytes);
            }
        }
        Ok(bytes)
    }

    /// What holds take of these segments, and beside them.
    pub fn account(&self, segments: &[ListedSegment]) -> Result<HeldAccount, StoreError> {
        let mut account = HeldAccount::default();
        for case in self.cases()? {
            let path = self.path_of_hold(&case);
            let text = match self.read(&case) {
                Ok(None) => continue,
                Ok(Some(text)) => text,
                Err(error) => {
                    account.cases += 1;
                    account.faults.push((path, error.to_string()));
                    let changed = self.look(&case).ok().flatten().map_or(i64::MAX, |found| found.changed_ns);
                    let opened_by = Timestamp(u64::try_from(changed).unwrap_or(u64::MAX));
                    account.names.push(HeldNames::unknown(Doubt::opened_by(opened_by)));
                    continue;
                }
            };
            account.cases += 1;
            account.faults.extend(text.faults.first().map(|fault| (path, fault.clone())));
            account.names.push(text.names());
            let taken = self.packets_disk_bytes(&case)?;
            let packets = text.head.and_then(|head| head.packets);
            account.bytes += packets.map_or(taken, |packets| packets.reserved_bytes.max(taken));
        }
        let held: Vec<_> = segments.iter().filter(|segment| account.may_hold(&segment.name)).collect();
        account.segments = held.len() as u64;
        account.bytes += held.iter().map(|segment| segment.disk_bytes).sum::<u64>();
        Ok(account)
    }

    /// Disk space that holds may take altogether.
    pub fn bytes_max(&self) -> Result<u64, StoreError> {
        let limits = self.limits()?;
        let free = || self.0.files.space(self.0.root()).map_or(u64::MAX, |space| space.available_bytes);
        let disk_bytes = match limits.budget_bytes.or(limits.hold_budget_bytes) {
            Some(_) => 0,
            None => self.0.disk_bytes()?.saturating_add(free()),
        };
        Ok(limits.hold_bytes_max(disk_bytes))
    }

    /// Removes a case: its packets first, so that what is left says what it was; false if there is none.
    pub fn remove(&self, case: &CaseName) -> Result<bool, StoreError> {
        let files = &*self.0.files;
        for part in CasePart::ALL {
            for path in [self.path(case, part), self.unfinished_path(case, &part.extension())] {
                at(&path, unless_missing(files.remove_file(&path)))?;
            }
        }
        let path = self.path_of_hold(case);
        let is_removed = at(&path, unless_missing(files.remove_file(&path)))?.is_some();
        at(&self.folder(), unless_missing(files.sync_folder(&self.folder())))?;
        Ok(is_removed)
    }

    /// Looks whether a segment is there to stay, after its hold was written.
    pub fn confirm(&self, name: &SegmentName) -> Result<Confirmation, StoreError> {
        let Some(opened) = self.0.open_segment(name)? else { return Ok(Confirmation::Gone) };
        // Where a file system has no locks, nothing better can be had.
        if !opened.file.try_lock(LockKind::Shared).unwrap_or(true) {
            return Ok(Confirmation::Unsettled);
        }
        let path = self.0.complete_path(name);
        let is_there = at(&path, opened.file.status())?.names > 0;
        Ok(match is_there {
            true => Confirmation::Kept,
            // Its cold file took its place.
            false if self.0.is_sealed(name) => Confirmation::Unsettled,
            false => Confirmation::Gone,
        })
    }

    /// Removes a segment and everything that belongs to it, unless it is held; false if it is, or is just becoming so. `is_held`
    /// looks at the holds again.
    pub fn remove_unless(
        &self,
        name: &SegmentName,
        is_held: &mut dyn FnMut() -> bool,
    ) -> Result<bool, StoreError> {
        // One that cannot be opened or locked can be removed all the same.
        let file = self.0.open_file(&self.0.complete_path(name)).ok().flatten();
        let is_free = file.as_ref().is_none_or(|file| {
            // One without a name has become cold since: it is for the next time.
            let is_gone = || file.status().is_ok_and(|found| found.names == 0);
            file.try_lock(LockKind::Exclusive).unwrap_or(true) && !is_gone()
        });
        if !is_free || is_held() {
            return Ok(false);
        }
        self.0.remove(name)?;
        Ok(true)
    }

    /// The limits that the last recorder had; the default where none has said.
    pub fn limits(&self) -> Result<HoldLimits, StoreError> {
        let path = self.folder().join(LIMITS);
        let Some(file) = self.0.open_file(&path)? else { return Ok(HoldLimits::default()) };
        let bytes = at(&path, file.read_all())?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end();
        let limits = Some(text).filter(|text| is_summed(text) == Some(true));
        let limits = limits.and_then(|text| serde_json::from_str(text).ok());
        let damaged = || {
            io::Error::new(io::ErrorKind::InvalidData, "it is damaged: the next recording writes it again")
        };
        at(&path, limits.ok_or_else(damaged))
    }

    /// Writes down the limits of the recorder, for those who make holds.
    pub fn set_limits(&self, limits: &HoldLimits) -> Result<(), StoreError> {
        if matches!(self.limits(), Ok(known) if known == *limits) {
            return Ok(());
        }
        self.prepare()?;
        let text = summed(&serde_json::to_string(limits).unwrap_or_default()) + "\n";
        self.replace(&self.folder().join(format!("{LIMITS}{UNFINISHED_EXTENSION}")), LIMITS, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::HOLD_VERSION;

    fn store() -> (tempfile::TempDir, Store, SegmentName) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let name = SegmentName { opened: Timestamp::new(1_795_339_861, 5), lane: 0 };
        store.prepare_folder(&name).unwrap();
        std::fs::write(store.sealed_path(&name), "segment").unwrap();
        (folder, store, name)
    }

    fn head(case: &str) -> HoldHead {
        HoldHead {
            hold: case.parse().unwrap(),
            version: HOLD_VERSION,
            made: Timestamp(1),
            from: None,
            to: None,
            by: String::new(),
            note: String::new(),
            segments: 1,
            packets: None,
        }
    }

    #[test]
    fn a_case_is_written_read_listed_and_removed() {
        let (_folder, store, name) = store();
        let cases = CaseFiles::of(&store);
        assert_eq!(cases.cases().unwrap(), []);
        assert_eq!(cases.limits().unwrap(), HoldLimits::default());
        cases.prepare().unwrap();
        cases.prepare().unwrap();
        let held = HeldSegment { segment: name, bytes: 7 };
        let head = head("a.pcap");
        cases.write(&head, &[held]).unwrap();
        let read = cases.read(&head.hold).unwrap().unwrap();
        assert_eq!((read.head.as_ref(), &read.segments[..]), (Some(&head), &[held][..]));
        std::fs::write(cases.folder().join("odd name.hold"), "").unwrap();
        assert_eq!(cases.cases().unwrap(), std::slice::from_ref(&head.hold));
        cases
            .create_packets(&head.hold, CaseFormat::Pcap, false)
            .unwrap()
            .write_all_at(&[1; 5000], 0)
            .unwrap();
        assert!(cases.packets_disk_bytes(&head.hold).unwrap() >= 5000);
        cases.finish_packets(&head.hold, CaseFormat::Pcap).unwrap();
        assert!(cases.open(&head.hold, CasePart::Packets(CaseFormat::Pcap)).unwrap().is_some());
        std::fs::rename(cases.path_of_hold(&head.hold), cases.path_of_hold(&"b".parse().unwrap())).unwrap();
        assert_eq!(cases.read(&"b".parse().unwrap()).unwrap().unwrap().faults.len(), 1);
        assert!(cases.remove(&"b".parse().unwrap()).unwrap());
        assert!(!cases.remove(&head.hold).unwrap(), "its packets go all the same");
        assert_eq!(cases.packets_disk_bytes(&head.hold).unwrap(), 0);
        let limits = HoldLimits { budget_bytes: Some(9), hold_budget_bytes: None };
        cases.set_limits(&limits).unwrap();
        assert_eq!(cases.limits().unwrap(), limits);
        std::fs::write(cases.folder().join(LIMITS), "{}").unwrap();
        assert!(cases.limits().is_err());
    }

    #[test]
    fn a_segment_is_either_confirmed_or_removed() {
        let (_folder, store, name) = store();
        let cases = CaseFiles::of(&store);
        assert!(!cases.remove_unless(&name, &mut || true).unwrap());
        let remover = store.open_segment(&name).unwrap().unwrap().file;
        assert!(remover.try_lock(LockKind::Exclusive).unwrap());
        assert_eq!(cases.confirm(&name).unwrap(), Confirmation::Unsettled);
        remover.unlock().unwrap();
        assert_eq!(cases.confirm(&name).unwrap(), Confirmation::Kept);
        assert!(remover.try_lock(LockKind::Shared).unwrap());
        assert!(!cases.remove_unless(&name, &mut || false).unwrap(), "somebody is holding it just now");
        remover.unlock().unwrap();
        let mut confirmed = None;
        assert!(
            cases
                .remove_unless(&name, &mut || {
                    confirmed = Some(cases.confirm(&name).unwrap());
                    false
                })
                .unwrap()
        );
        assert_eq!(confirmed, Some(Confirmation::Unsettled));
        assert_eq!(cases.confirm(&name).unwrap(), Confirmation::Gone);
    }
}
