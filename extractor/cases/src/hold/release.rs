//! The end of a hold.

use netrewind_store::Store;
use netrewind_store::hold::CaseName;
use netrewind_store::store::CaseFiles;

use super::error::HoldError;
use super::list::{HoldView, list_holds};

/// Releases a case, and returns what it was: retention may have its segments again; packets of its own are removed.
pub fn release_hold(store: &Store, case: &CaseName) -> Result<HoldView, HoldError> {
    let files = CaseFiles::of(store);
    let unknown = |known| HoldError::Unknown { case: case.clone(), known };
    let known = files.cases()?;
    if !known.contains(case) {
        return Err(unknown(known));
    }
    let _turn = files.lock()?;
    let view = list_holds(store)?.into_iter().find(|view| view.case == *case);
    let view = view.ok_or_else(|| unknown(Vec::new()))?;
    if files.remove(case)? { Ok(view) } else { Err(unknown(Vec::new())) }
}
