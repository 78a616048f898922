//! Keys in files: the private one that signs, the public one that checks.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use netrewind_cases::{KeyError, PublicKey, SignerKey};

use crate::outcome::Failure;

/// Bytes of a key's file that are read.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

fn named(path: &Path, error: &KeyError) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

/// The private key in a PEM file.
pub fn signer(path: &Path) -> Result<SignerKey, Failure> {
    SignerKey::from_pem(&read(path)?).map_err(|error| named(path, &error))
}

/// The public key in a PEM file.
pub fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&read(path)?).map_err(|error| named(path, &error))
}
