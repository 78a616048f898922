//! Cases: their holds, and the packets of their own.

use netrewind_cases::{EvidenceFiles, check};
use netrewind_store::hold::{CaseName, CasePackets};
use netrewind_store::store::{CaseFiles, CasePart};
use netrewind_store::{Store, StoreError};

use super::FaultReport;
use crate::outcome::Failure;

/// Checks every hold, and every file of packets against its manifest.
pub fn check_cases(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let files = CaseFiles::of(store);
    let cases = match files.cases() {
        Ok(cases) => cases,
        Err(StoreError::Io { path, source }) => {
            report.fault(&store.part(&path), &source.to_string())?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if let Err(error) = files.limits() {
        report.fault("the limits of holds", &error.to_string())?;
    }
    let mut sound = 0;
    for case in &cases {
        report.line.show(&format!("case {case}"));
        let faults = faults_of_case(store, case);
        sound += u64::from(faults.is_empty());
        report.is_also(store.part(&files.path_of_hold(case)));
        for fault in faults {
            report.fault(&format!("case {case}"), &fault)?;
        }
    }
    if !cases.is_empty() {
        report.tally("cases", sound, cases.len() as u64);
    }
    Ok(())
}

/// Everything that is wrong with a case.
fn faults_of_case(store: &Store, case: &CaseName) -> Vec<String> {
    let files = CaseFiles::of(store);
    let part = store.part(&files.path_of_hold(case));
    let text = match files.read(case) {
        Ok(Some(text)) => text,
        Ok(None) => return Vec::new(), // it was released just now
        Err(error) => return vec![format!("{error}: every segment that it may name is kept")],
    };
    let damage = text.faults.iter();
    let mut faults: Vec<String> = damage
        .map(|fault| format!("{part}: {fault}: every segment that may have stood there is kept"))
        .collect();
    for held in &text.segments {
        if !store.is_sealed(&held.segment) && !store.is_open(&held.segment) {
            faults.push(format!("segment {} is held, and is not there", held.segment));
        }
    }
    match text.head.and_then(|head| head.packets) {
        Some(CasePackets { reserved_bytes: 0, format }) => {
            let checked = check_packets(
                store,
                case,
                [CasePart::Packets(format), CasePart::Manifest(format), CasePart::Signature(format)],
            );
            faults.extend(checked.unwrap_or_else(|error| vec![format!("{error:#}")]));
        }
        Some(_) => faults.push("its packets are being written, or were when that was broken off".to_owned()),
        None => {}
    }
    faults
}

/// Compares the packets of a case with their manifest, and that with its signature, if it has one.
fn check_packets(store: &Store, case: &CaseName, parts: [CasePart; 3]) -> anyhow::Result<Vec<String>> {
    let files = CaseFiles::of(store);
    let [name, manifest_name, signature_name] = parts.map(|part| store.part(&files.path(case, part)));
    let [packets, manifest, signature] = parts;
    let Some(packets) = files.open(case, packets)? else {
        return Ok(vec![format!("{name}: it is missing")]);
    };
    let Some(manifest) = files.open(case, manifest)? else {
        return Ok(vec![format!("{manifest_name}: it is missing")]);
    };
    let signature = files.open(case, signature)?.map(|file| file.read_all()).transpose()?;
    let manifest = manifest.read_all()?;
    let mut reader = packets.reader(0);
    let mut files = EvidenceFiles {
        file: &mut reader,
        name,
        manifest: &manifest,
        manifest_name,
        signature: signature.as_deref(),
        signature_name,
    };
    Ok(check(&mut files, None)?.faults)
}
