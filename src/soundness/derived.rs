//! Parts derived from segments: the indexes of hours, and the hours of the catalog.

use std::collections::BTreeMap;

use netrewind_catalog::settle::boundary_is_due;
use netrewind_indexer::{catalog_writer, hour_writer};
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::{CatalogFolder, HourFiles, ListedSegment, StoreWriter};
use netrewind_store::{SegmentState, Store, StoreError};

use super::FaultReport;
use crate::outcome::Failure;

/// Checks the indexes of hours.
pub fn check_hours(
    store: &Store,
    segments: &[ListedSegment],
    report: &mut FaultReport,
) -> Result<(), Failure> {
    let Ok(hours) = HourFiles::of(store).hours() else {
        return Ok(()); // listing the segments has told of it
    };
    let mut of_hours: BTreeMap<Hour, Vec<ListedSegment>> =
        hours.iter().map(|hour| (*hour, Vec::new())).collect();
    for segment in segments {
        of_hours.entry(Hour::of(segment.name.opened)).or_default().push(*segment);
    }
    let (mut sound, now) = (0, crate::clock::now());
    for (hour, of_hour) in &of_hours {
        let part = format!("index of hour {hour}");
        report.line.show(&part);
        if !hours.contains(hour) {
            let is_due =
                hour.end() <= now && of_hour.iter().all(|segment| segment.state == SegmentState::Sealed);
            if is_due {
                report.remark(&part, "it is missing: run netrewind index, and answers take less time")?;
            }
            continue;
        }
        match hour_writer::check(store, *hour, of_hour, now) {
            Ok(()) => sound += 1,
            Err(fault) => {
                let path = store.part(&HourFiles::of(store).path(*hour));
                report.is_also(path);
                report.fault(&part, &format!("{fault:#}"))?;
            }
        }
    }
    report.tally("indexes of hours", sound, hours.len() as u64);
    Ok(())
}

/// Checks the hours of the catalog.
pub fn check_catalog(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let hours = match CatalogFolder::of(store).hours() {
        Ok(hours) => hours,
        Err(StoreError::Io { path, source }) => {
            report.fault(&store.part(&path), &source.to_string())?;
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let mut sound = 0;
    for &hour in &hours {
        report.line.show(&format!("hour {hour} of the catalog"));
        let faults = faults_of_hour(store, hour);
        sound += u64::from(faults.is_empty());
        if !faults.is_empty() {
            report.is_also(store.part(&CatalogFolder::of(store).hour_path(hour)));
        }
        for fault in faults {
            report.fault(&format!("hour {hour}"), &fault)?;
        }
    }
    report.tally("hours of the catalog", sound, hours.len() as u64);
    Ok(())
}

/// Everything that is wrong with an hour of the catalog.
pub fn faults_of_hour(store: &Store, hour: Hour) -> Vec<String> {
    let folder = CatalogFolder::of(store);
    let manifest = match folder.manifest(hour) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Vec::new(), // it has expired since
        Err(error) => return vec![format!("{error:#}")],
    };
    let changed = folder.changed_files(&manifest);
    let mut faults: Vec<String> =
        changed.iter().map(|(path, reason)| format!("{}: {reason}", store.part(path))).collect();
    if faults.is_empty() {
        faults.extend(catalog_writer::check(store, hour).err().map(|error| format!("{error:#}")));
    }
    if faults.is_empty() && lacks_boundary(store, &manifest) {
        faults.push(
            "its boundary with the previous hour is missing, and answers take longer: run netrewind verify --repair"
                .to_owned(),
        );
    }
    faults
}

/// True if the boundary with the hour before should have been written by now, and is not there.
fn lacks_boundary(store: &Store, manifest: &Manifest) -> bool {
    let is_written = matches!(StoreWriter::of(store), Ok(Some(_)));
    let before =
        manifest.hour.before().and_then(|hour| CatalogFolder::of(store).manifest(hour).ok().flatten());
    !is_written && before.is_some_and(|before| boundary_is_due(store, &before, manifest))
}
