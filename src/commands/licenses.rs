//! `netrewind licenses`: what the program and its page are made of.

use std::io::Write;

use crate::outcome::{Failure, Outcome};
use crate::terminal::StandardOutput;

/// Every part, its licence, and the licences' texts; `scripts/sbom licenses` writes it.
const LICENSES: &[u8] = include_bytes!("licenses.zst");

/// Prints them.
pub fn run() -> Result<Outcome, Failure> {
    let text = zstd::decode_all(LICENSES)?;
    StandardOutput.write_all(&text)?;
    Ok(Outcome::Done)
}
