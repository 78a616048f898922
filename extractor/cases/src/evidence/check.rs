//! Check of a file against its manifest, and of the manifest against its signature.

use std::io::{self, Read};

use super::hash::FileHash;
use super::keys::PublicKey;
use super::manifest::{EvidenceManifest, SignerFacts};

/// A file, what is beside it, and their names.
pub struct EvidenceFiles<'a> {
    /// The file.
    pub file: &'a mut dyn Read,
    /// Its name.
    pub name: String,
    /// The manifest.
    pub manifest: &'a [u8],
    /// Its name.
    pub manifest_name: String,
    /// The signature; `None` if there is none.
    pub signature: Option<&'a [u8]>,
    /// Its name.
    pub signature_name: String,
}

/// Outcome of a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvidenceCheck {
    /// Everything that does not fit, in words.
    pub faults: Vec<String>,
    /// What was found, in words.
    pub facts: Vec<String>,
    /// The manifest, if it can be read.
    pub manifest: Option<EvidenceManifest>,
}

/// Checks a file, its manifest, and the signature. With a key, the manifest has to be signed with that key.
pub fn check(files: &mut EvidenceFiles<'_>, key: Option<&PublicKey>) -> io::Result<EvidenceCheck> {
    let mut check = EvidenceCheck::default();
    let found = FileHash::of(files.file)?;
    let EvidenceFiles { name, manifest, manifest_name, .. } = files;
    match EvidenceManifest::read(manifest) {
        Ok(manifest) => {
            check.compare(name, &found, &manifest);
            check.manifest = Some(manifest);
        }
        Err(reason) => check.faults.push(format!("{manifest_name}: {reason}")),
    }
    check.check_signature(files, key);
    Ok(check)
}

impl EvidenceCheck {
    fn compare(&mut self, name: &str, found: &FileHash, manifest: &EvidenceManifest) {
        let FileHash { bytes, sha256 } = &manifest.hash;
        if found.bytes != *bytes {
            let text = format!("{name}: it has {} bytes, and had {bytes} when it was written", found.bytes);
            self.faults.push(text);
        }
        if found.sha256 != *sha256 {
            self.faults.push(format!(
                "{name}: it has changed since it was written: its SHA-256 is {}, and the manifest says {sha256}",
                found.sha256
            ));
        }
        if found == &manifest.hash {
            self.facts.push(format!("{name}: {bytes} bytes, SHA-256 {sha256}, as they were written"));
        }
    }

    fn check_signature(&mut self, files: &EvidenceFiles<'_>, key: Option<&PublicKey>) {
        let EvidenceFiles { manifest: signed, manifest_name, signature, signature_name, .. } = files;
        let told = self.manifest.as_ref().and_then(|manifest| manifest.signed_by.clone());
        let Some(signature) = signature else {
            match (told, key) {
                (Some(_), _) => self.faults.push(format!("{signature_name}: the signature is missing")),
                (None, Some(_)) => self.faults.push(format!(
                    "{manifest_name}: it is not signed, although a key was given ({signature_name} is missing)"
                )),
                (None, None) => self.facts.push(format!("{manifest_name}: not signed")),
            }
            return;
        };
        let own = told.as_ref().and_then(SignerFacts::key);
        let fits = |key: &PublicKey| key.has_signed(signed, signature);
        let fits_own = own.as_ref().is_some_and(fits);
        match key {
            Some(key) if fits(key) => {
                self.facts.push(format!("{manifest_name}: signed with the key that was given, {}", key.fingerprint()));
            }
            Some(key) if fits_own => self.faults.push(format!(
                "{manifest_name}: it is signed with another key than the one that was given: with {}, and not with {}",
                own.as_ref().map(PublicKey::fingerprint).unwrap_or_default(),
                key.fingerprint()
            )),
            None if fits_own => self.facts.push(format!(
                "{manifest_name}: signed with the key {}: give --key to check whose that is",
                own.as_ref().map(PublicKey::fingerprint).unwrap_or_default()
            )),
            Some(key) if own.is_some_and(|own| own != *key) => self.faults.push(format!(
                "{manifest_name}: it names another key than the one that was given, and {signature_name} fits neither: it has been changed since it was signed"
            )),
            _ => self.faults.push(format!(
                "{manifest_name}: {signature_name} does not fit it: one of the two has been changed since it was signed"
            )),
        }
    }
}
