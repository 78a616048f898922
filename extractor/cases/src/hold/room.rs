//! Room for holds: what they may take together, and the disk space for packets of a case.

use std::time::Duration;

use netrewind_store::Store;
use netrewind_store::clock::Clock;
use netrewind_store::hold::{CaseName, NOTE_CHARACTERS_MAX};
use netrewind_store::store::{CaseFiles, HeldAccount, StoreWriter};

use super::error::{CASES_MAX, HoldError};

/// Wait for a recorder to make room for packets, and the interval between two looks.
pub const ROOM_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Checks that a case can be made.
pub fn check_case(files: &CaseFiles<'_>, case: &CaseName, by: &str, note: &str) -> Result<(), HoldError> {
    for (text, name) in [(by, "the name of who holds"), (note, "the note")] {
        if text.chars().count() > NOTE_CHARACTERS_MAX {
            return Err(HoldError::TooLong(name));
        }
    }
    let cases = files.cases()?;
    if cases.contains(case) {
        return Err(HoldError::Exists(case.clone()));
    }
    if cases.len() >= CASES_MAX { Err(HoldError::TooManyCases) } else { Ok(()) }
}

/// Bytes that holds may still take.
pub fn bytes_left(files: &CaseFiles<'_>, account: &HeldAccount) -> Result<u64, HoldError> {
    Ok(files.bytes_max()?.saturating_sub(account.bytes))
}

/// Checks that holds may take so many bytes more.
pub fn check_budget(
    files: &CaseFiles<'_>,
    account: &HeldAccount,
    wanted_bytes: u64,
) -> Result<(), HoldError> {
    let bytes_max = files.bytes_max()?;
    let held_bytes = account.bytes;
    if held_bytes.saturating_add(wanted_bytes) <= bytes_max {
        return Ok(());
    }
    Err(HoldError::OverBudget { wanted_bytes, held_bytes, bytes_max })
}

/// Waits until the disk, and the budget, have so much room: the recorder makes it once the hold says that it is wanted. Where no
/// recorder is at work, what is free has to suffice. Returns the bytes that may be taken.
pub fn wait_for_room(store: &Store, clock: &dyn Clock, wanted_bytes: u64) -> Result<u64, HoldError> {
    let until_ns = clock.now().after(ROOM_TIME_MAX);
    loop {
        let free_bytes = free_bytes(store)?;
        if wanted_bytes <= free_bytes || StoreWriter::of(store)?.is_none() {
            return Ok(wanted_bytes.min(free_bytes));
        }
        if clock.now().monotonic_ns >= until_ns {
            return Err(HoldError::NoRoomMade(wanted_bytes));
        }
        clock.sleep(LOOK_INTERVAL);
    }
}

/// Bytes that the disk, and the budget, have room for now.
pub fn free_bytes(store: &Store) -> Result<u64, HoldError> {
    let limits = CaseFiles::of(store).limits()?;
    let of_disk = store.files().space(store.root()).map_or(u64::MAX, |space| space.available_bytes);
    let used_bytes = store.disk_bytes()?;
    Ok(limits.budget_bytes.map_or(of_disk, |budget| budget.saturating_sub(used_bytes).min(of_disk)))
}
