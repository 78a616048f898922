//! The audit: who got which packets.

use netrewind_store::Store;
use netrewind_store::files::LockKind;
use netrewind_store::seal::{LineSequence, NOT_ENDED, unsealed};

use super::FaultReport;
use crate::outcome::Failure;

/// Checks every line of the audit.
pub fn check_audit(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let mut sequence = LineSequence::from_anywhere();
    let (mut sound, mut all, mut is_begun) = (0, 0, false);
    let numbers = store.audit_numbers()?;
    for number in (0..=numbers.last().copied().unwrap_or(0)).rev() {
        let path = store.audit_path(number);
        let part = store.part(&path);
        let file = match store.open_audit(number) {
            Ok(Some(file)) => file,
            Ok(None) if is_begun => {
                report.fault(&part, "it is missing: what was in it is not known")?;
                continue;
            }
            Ok(None) => continue,
            Err(error) => {
                report.fault(&part, &error.to_string())?;
                continue;
            }
        };
        is_begun = true;
        let is_written = number == 0 && !matches!(file.try_lock(LockKind::Shared), Ok(true));
        // A service that starts now must not find it locked.
        let _ = file.unlock();
        let bytes = match file.read_all() {
            Ok(bytes) => bytes,
            Err(error) => {
                report.fault(&part, &error.to_string())?;
                continue;
            }
        };
        for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            let faults = faults_of(line, &mut sequence, is_written);
            all += 1;
            sound += u64::from(faults.is_empty());
            for fault in faults {
                report.fault(&part, &format!("line {number}: {fault}"))?;
            }
        }
    }
    if is_begun {
        report.tally("lines of the audit", sound, all);
    }
    Ok(())
}

/// Everything that is wrong with a line.
fn faults_of(line: &[u8], sequence: &mut LineSequence, is_written: bool) -> Vec<String> {
    let (text, is_ended) = match line.strip_suffix(b"\n") {
        Some(text) => (text, true),
        None => (line, false),
    };
    if !is_ended && is_written {
        return Vec::new(); // it is under way
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    let mut faults: Vec<String> = sequence.take(unsealed(text).1).fault().into_iter().collect();
    if serde_json::from_str::<serde_json::Value>(text).is_err() && faults.is_empty() {
        faults.push("it is not a valid entry".to_owned());
    }
    if !is_ended && faults.is_empty() {
        faults.push(NOT_ENDED.to_owned());
    }
    faults
}
