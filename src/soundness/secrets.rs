//! TLS secrets that imported captures came with.

use netrewind_store::Store;
use netrewind_store::store::secret_files::{SecretFiles, SecretsFault};

use super::FaultReport;
use crate::outcome::Failure;

/// Checks every file of secrets.
pub fn check_secrets(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let files = SecretFiles::of(store);
    let listed = match files.list() {
        Ok(listed) => listed,
        Err(error) => {
            report.fault(&store.part(&files.folder()), &error.to_string())?;
            return Ok(());
        }
    };
    let mut sound = 0;
    for secrets in &listed {
        let part = store.part(&files.path(secrets));
        report.line.show(&part);
        match files.read(secrets) {
            Ok(_) => sound += 1,
            Err(SecretsFault::Forbidden) => report.remark(&part, "this user may not read it")?,
            Err(fault) => report.fault(&part, &format!("TLS secrets: {fault}"))?,
        }
    }
    if !listed.is_empty() {
        report.tally("files of TLS secrets", sound, listed.len() as u64);
    }
    Ok(())
}
