//! `netrewind licenses`: what the program and its page are made of.

use std::io::{self, Write};

use crate::outcome::{Failure, Outcome};

/// Every part, its licence, and the licences' texts; `scripts/sbom licenses` writes it.
const LICENSES: &[u8] = include_bytes!("licenses.zst");

/// Prints them.
pub fn run() -> Result<Outcome, Failure> {
    let text = zstd::decode_all(LICENSES)?;
    match io::stdout().write_all(&text) {
        // Whoever read them has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(Outcome::Done)
}
