//! Capabilities: capabilities(7).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, accessat};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::files::FileRights;

/// Folders below a path, counted from it, whose permissions are looked at: deeper ones are made like those above.
const LOOK_DEPTH: u32 = 2;

/// The bit of a folder's mode that keeps users from each other's files: chmod(2).
const STICKY: u32 = 0o1000;

/// A right that a process may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// To open packet sockets.
    PacketSockets,
    /// To change an interface's settings.
    Interfaces,
    /// To files of other users.
    Files,
}

impl Privilege {
    fn set(self) -> CapabilitySet {
        match self {
            Self::PacketSockets => CapabilitySet::NET_RAW,
            Self::Interfaces => CapabilitySet::NET_ADMIN,
            Self::Files => {
                CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER
            }
        }
    }
}

/// Capabilities that a process keeps, if it has them.
#[derive(Clone, Debug, Default)]
pub struct KeptCapabilities {
    pub privileges: Vec<Privilege>,
    /// Also keep the right to files of others, if the process needs it for the files that it was given.
    pub files: bool,
    /// Give them to the programs that it starts.
    pub passes_on: bool,
}

impl KeptCapabilities {
    /// The right to files of others, if those that the process was given are of others.
    pub fn files_if_needed() -> Self {
        Self { files: true, ..Self::default() }
    }
}

/// Gives up all others, also for programs that are started later.
pub(super) fn confine(keeps: &KeptCapabilities) -> Result<(), String> {
    let failed = |error| format!("capabilities are kept: {error}");
    let had = capabilities(None).map_err(failed)?;
    let kept =
        keeps.privileges.iter().fold(CapabilitySet::empty(), |all, one| all | one.set()) & had.permitted;
    for capability in (CapabilitySet::all() - kept).iter() {
        // Only root may; without it there is nothing that could be had from it. One that this kernel does not know is none.
        let _ = remove_capability_from_bounding_set(capability);
    }
    // Kernels before 4.3 know none, and there is nothing to clear.
    let _ = clear_ambient_capability_set();
    let inheritable = if keeps.passes_on { kept } else { CapabilitySet::empty() };
    let wanted = CapabilitySets { effective: kept, permitted: kept, inheritable };
    if had != wanted {
        set_capabilities(None, wanted).map_err(failed)?;
    }
    for capability in inheritable.iter() {
        let _ = configure_capability_in_ambient_set(capability, true);
    }
    Ok(())
}

/// True if the process can use these files without the rights of root.
pub(super) fn suffices_without(paths: &[(PathBuf, FileRights)]) -> bool {
    let Ok(had) = capabilities(None) else { return true };
    if !had.effective.intersects(Privilege::Files.set()) {
        return true; // it has no such rights
    }
    let without = CapabilitySets { effective: had.effective - Privilege::Files.set(), ..had };
    if set_capabilities(None, without).is_err() {
        return false;
    }
    let suffices = paths.iter().all(|(path, rights)| is_usable(path, *rights, LOOK_DEPTH));
    // The same rights as before: they are still permitted.
    let _ = set_capabilities(None, had);
    suffices
}

/// True if the file can be used, or there is none.
fn is_usable(path: &Path, rights: FileRights, depth: u32) -> bool {
    use rustix::fs::Access;
    let Ok(metadata) = path.symlink_metadata() else {
        return accessat(CWD, path, Access::EXISTS, AtFlags::EACCESS) != Err(rustix::io::Errno::ACCESS);
    };
    let mut access = match rights {
        FileRights::Read | FileRights::Run => Access::READ_OK,
        FileRights::Write => Access::READ_OK | Access::WRITE_OK,
        FileRights::Rename | FileRights::Log => Access::WRITE_OK,
    };
    if metadata.is_dir() {
        access |= Access::EXEC_OK;
    }
    // In such a folder only who owns a file gives it another name.
    if rights == FileRights::Rename && metadata.mode() & STICKY != 0 {
        return false;
    }
    match accessat(CWD, path, access, AtFlags::EACCESS) {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => return false,
        _ if !metadata.is_dir() || depth == 0 || matches!(rights, FileRights::Rename | FileRights::Log) => {
            return true;
        }
        _ => {}
    }
    let entries = path.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).all(|path| is_usable(&path, rights, depth - 1))
}
