//! Reasons that nothing can be created in a store.

use std::io;
use std::path::PathBuf;

use netrewind_store::hold::CaseName;

/// Cases that are named where holds leave no room.
const CASES_NAMED_MAX: usize = 5;

/// True if a smaller file, or more free space, would help: ENOSPC, EDQUOT, EFBIG.
pub(crate) fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Reasons that nothing can be created.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    #[error(
        "no room: open and held segments and their files use up the budget of {budget_bytes} bytes, and a segment takes at least {least_bytes}: raise the budget"
    )]
    Budget { budget_bytes: u64, least_bytes: u64 },
    #[error(
        "no room: {free_bytes} bytes are free on the file system of {}, and removing old segments would free {kept_bytes}; a segment takes at least {least_bytes}: make room there, or use another disk", .store.display()
    )]
    Disk { store: PathBuf, free_bytes: u64, kept_bytes: u64, least_bytes: u64 },
}

impl NoRoom {
    /// The error, with the holds that could be released, if there are any.
    pub(super) fn beside_holds<'c>(&self, cases: impl Iterator<Item = &'c CaseName>) -> io::Error {
        let mut named: Vec<&str> = cases.map(CaseName::as_str).take(CASES_NAMED_MAX + 1).collect();
        if named.len() > CASES_NAMED_MAX {
            named.truncate(CASES_NAMED_MAX);
            named.push("...");
        }
        let text = match &named[..] {
            [] => self.to_string(),
            named => format!("{self}; or release one of the holds: {}", named.join(", ")),
        };
        io::Error::new(io::ErrorKind::StorageFull, text)
    }
}
