//! `netrewind verify FILE`: a file, its manifest, and the signature of that.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Context;
use netrewind_cases::{EvidenceFiles, EvidenceManifest, check};
use netrewind_extractor::time_text::in_zone;
use serde::Serialize;

use super::super::extract::{manifest_path, signature_path};
use super::super::keys;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};
use crate::soundness::ReportForm;
use crate::terminal;

/// What was found, as JSON.
#[derive(Serialize)]
struct CheckedFile<'c> {
    file: String,
    faults: &'c [String],
    facts: &'c [String],
    manifest: &'c Option<EvidenceManifest>,
}

/// Compares a file with what vouches for it. Each fault is a line on standard output, or a member of one JSON object.
pub fn verify(path: &Path, key: Option<&Path>, form: &ReportForm) -> Result<Outcome, Failure> {
    let named = || path.display().to_string();
    let (manifest_path, key) = (manifest_path(path), key.map(keys::public_key).transpose()?);
    let signature_path = signature_path(&manifest_path);
    let mut file = File::open(path).with_context(named)?;
    if file.metadata().with_context(named)?.is_dir() {
        return Err(Failure::usage(format!(
            "{}: this is a folder: a store is verified with --store",
            named()
        )));
    }
    let manifest = match fs::read(&manifest_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::usage(format!(
                "{}: there is no manifest, {}: extract --manifest writes one",
                named(),
                manifest_path.display()
            )));
        }
        read => read.with_context(|| manifest_path.display().to_string())?,
    };
    let signature = match fs::read(&signature_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.with_context(|| signature_path.display().to_string())?),
    };
    Walls::new().raise().say_gaps();
    let mut files = EvidenceFiles {
        file: &mut file,
        name: named(),
        manifest: &manifest,
        manifest_name: manifest_path.display().to_string(),
        signature: signature.as_deref(),
        signature_name: signature_path.display().to_string(),
    };
    let check = check(&mut files, key.as_ref()).with_context(named)?;
    if form.json {
        let (faults, facts) = (&check.faults[..], &check.facts[..]);
        let checked = CheckedFile { file: named(), faults, facts, manifest: &check.manifest };
        terminal::if_read(terminal::print(terminal::object(&checked)?))?;
    } else {
        let shown = |line: &String| in_zone(line, &form.zone).into_owned();
        check.faults.iter().map(shown).try_for_each(terminal::print)?;
        check.facts.iter().map(shown).for_each(terminal::say);
        if let Some(manifest) = &check.manifest {
            let made = format!("made {} by {}", manifest.made, manifest.made_by);
            terminal::say(shown(&made));
            manifest.completeness.iter().map(shown).for_each(terminal::say);
        }
    }
    Ok(if check.faults.is_empty() { Outcome::Done } else { Outcome::Incomplete })
}
