//! The file that an answer is written to: complete or not there at all.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::confine::folder_of;

/// Mode of a new file: packets are private until their owner decides otherwise.
const NEW_FILE_MODE: u32 = 0o600;
/// Permission bits of a mode.
const PERMISSIONS: u32 = 0o777;
/// Longest chain of links that is followed: as in Linux (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Destination of an answer.
pub enum Destination {
    /// Written directly: a pipe, a device, or a file in a folder where no other can be created.
    Direct,
    /// Written beside the file, and put in its place once complete.
    Replacing(Replacement),
}

/// A file that will take the place of another.
pub struct Replacement {
    unfinished: PathBuf,
    target: PathBuf,
}

impl Destination {
    /// Opens the destination. A link is followed; an existing file keeps its mode and owner. A file that `grows` is read
    /// meanwhile, and so written directly. Also returns the file to write to.
    pub fn open(output: &Path, grows: bool) -> io::Result<(File, Self)> {
        let target = behind_links(output)?;
        let found = match fs::metadata(&target) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.as_ref().is_some_and(fs::Metadata::is_dir) {
            let name = target.join("packets.pcap");
            let text = format!("this is a folder: name a file in it, such as {}", name.display());
            return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
        }
        if grows || found.as_ref().is_some_and(|found| !found.is_file()) {
            return direct(&target);
        }
        if found.is_some() {
            // Refused where the file may not be written: to replace it is to write it.
            File::options().write(true).open(&target)?;
        }
        match Replacement::begin(&target, found.as_ref()) {
            Err(error) if found.is_some() && is_about_the_folder(&error) => direct(&target),
            Err(error) => Err(error),
            Ok((file, replacement)) => Ok((file, Self::Replacing(replacement))),
        }
    }

    /// The folder in which files get other names once the answer is complete.
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Direct => None,
            Self::Replacing(replacement) => Some(folder_of(&replacement.target)),
        }
    }

    /// Keeps the complete answer.
    pub fn keep(self) -> io::Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Replacing(Replacement { unfinished, target }) => {
                fs::rename(&unfinished, target).inspect_err(|_| _ = fs::remove_file(unfinished))
            }
        }
    }

    /// Discards the file: there is no answer.
    pub fn give_up(self) -> io::Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Replacing(Replacement { unfinished, .. }) => fs::remove_file(unfinished),
        }
    }
}

fn direct(target: &Path) -> io::Result<(File, Destination)> {
    let file = File::options().write(true).create(true).truncate(true).mode(NEW_FILE_MODE).open(target)?;
    Ok((file, Destination::Direct))
}

fn is_about_the_folder(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Replacement {
    /// Creates the file beside the target. Its name is unique to this process: several may write the same answer at once.
    fn begin(target: &Path, found: Option<&fs::Metadata>) -> io::Result<(File, Self)> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut own_name = name.to_owned();
        own_name.push(format!(".{}.partial", std::process::id()));
        let unfinished = target.with_file_name(own_name);
        // Left over from a killed process with the same number.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().write(true).create_new(true).mode(NEW_FILE_MODE).open(&unfinished)?;
        let replacement = Self { unfinished, target: target.to_owned() };
        if let Some(found) = found
            && let Err(error) = like(&file, found)
        {
            // What went wrong first is told.
            let _ = fs::remove_file(&replacement.unfinished);
            return Err(error);
        }
        Ok((file, replacement))
    }
}

/// Gives a new file the mode and, if permitted, the owner of another.
fn like(file: &File, found: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (found.uid(), found.gid()) {
        match fchown(file, Some(found.uid()), Some(found.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    file.set_permissions(Permissions::from_mode(found.mode() & PERMISSIONS))
}

/// The file that a name leads to, even if a link names one that does not exist yet.
fn behind_links(output: &Path) -> io::Result<PathBuf> {
    let mut path = output.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let named = fs::read_link(&path)?;
                path = path.parent().unwrap_or(Path::new("")).join(named);
            }
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(output: &Path, text: &str) -> io::Result<()> {
        let (mut file, destination) = Destination::open(output, false)?;
        file.write_all(text.as_bytes())?;
        destination.keep()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & PERMISSIONS
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn links_stay_and_lead_to_the_file_also_to_one_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let far = folder.path().join("far");
        fs::create_dir(&far).unwrap();
        symlink("far/x", folder.path().join("link")).unwrap();
        symlink(folder.path().join("link"), folder.path().join("link to the link")).unwrap();
        for (link, text) in [("link", "one"), ("link to the link", "another")] {
            write(&folder.path().join(link), text).unwrap();
            assert!(fs::symlink_metadata(folder.path().join(link)).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(far.join("x")).unwrap(), text);
        }
        assert_eq!((names(&far), names(folder.path())), (1, 3), "nothing is left behind");
        symlink("round", folder.path().join("round")).unwrap();
        assert!(write(&folder.path().join("round"), "x").is_err());
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_new_one_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        write(&path, "new").unwrap();
        assert_eq!(mode(&path), 0o600);
        for kept in [0o640, 0o666, 0o600] {
            fs::set_permissions(&path, Permissions::from_mode(kept)).unwrap();
            write(&path, "again").unwrap();
            assert_eq!(mode(&path), kept);
        }
        assert!(write(folder.path(), "x").unwrap_err().to_string().contains("folder"));
    }

    #[test]
    fn what_is_given_up_leaves_the_file_as_it_was_and_a_device_is_written_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        write(&path, "before").unwrap();
        let (mut file, destination) = Destination::open(&path, false).unwrap();
        file.write_all(b"half").unwrap();
        destination.give_up().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(names(folder.path()), 1);
        let (mut file, destination) = Destination::open(Path::new("/dev/null"), false).unwrap();
        file.write_all(b"nothing").unwrap();
        destination.keep().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
