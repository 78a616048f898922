//! The output of an answer, and errors about it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use netrewind_extractor::{ExtractError, SinkError};

/// An error of the output.
pub fn io_error(error: io::Error) -> ExtractError {
    ExtractError::Sink(SinkError::Io(error))
}

/// An error about the output, with its name.
pub fn named(output: &Path, error: &io::Error) -> ExtractError {
    let name = if output == Path::new("-") { "standard output".into() } else { output.display().to_string() };
    io_error(io::Error::new(error.kind(), format!("{name}: {error}")))
}

/// Standard output without a line buffer.
pub fn standard_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Form of the packets in an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A capture file of one link type.
    Pcap,
    /// A capture file of several.
    Pcapng,
    /// A line for each packet.
    Text,
}

impl OutputKind {
    /// The form that is asked for, or that the name of the file tells.
    pub fn of(output: &Path, format: Option<&str>) -> Self {
        let extension = output.extension().and_then(|extension| extension.to_str());
        match (format, extension) {
            (Some("text"), _) | (None, Some("txt")) => Self::Text,
            (Some("pcapng"), _) | (None, Some("pcapng")) => Self::Pcapng,
            _ => Self::Pcap,
        }
    }
}
