//! Compression of an answer's file, as its name says: `.gz` (RFC 1952) or `.zst` (RFC 8878).
//!
//! What is written is one gzip member, or one frame of Zstandard: tshark stops at the end of the first one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

/// Levels: the usual ones of the two programs.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Compression of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputCompression {
    /// None.
    #[default]
    Plain,
    /// gzip(1).
    Gzip,
    /// zstd(1).
    Zstandard,
}

/// Compression that a file's name asks for, and the name without the ending that says so.
pub fn compression_of(name: &Path) -> (OutputCompression, PathBuf) {
    let compression = match name.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => OutputCompression::Gzip,
        Some("zst") => OutputCompression::Zstandard,
        _ => return (OutputCompression::Plain, name.to_owned()),
    };
    (compression, name.with_extension(""))
}

/// Writes to another writer, compressed or as it is.
pub enum CompressedWriter<W: Write> {
    /// As it is.
    Plain(W),
    /// One gzip member.
    Gzip(GzEncoder<W>),
    /// One frame.
    Zstandard(zstd::Encoder<'static, W>),
}

impl<W: Write> CompressedWriter<W> {
    /// Begins.
    pub fn new(output: W, compression: OutputCompression) -> io::Result<Self> {
        Ok(match compression {
            OutputCompression::Plain => Self::Plain(output),
            OutputCompression::Gzip => {
                Self::Gzip(GzEncoder::new(output, flate2::Compression::new(GZIP_LEVEL)))
            }
            OutputCompression::Zstandard => Self::Zstandard(zstd::Encoder::new(output, ZSTD_LEVEL)?),
        })
    }

    /// Writes what ends the file.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut output) => output.flush(),
            Self::Gzip(encoder) => encoder.finish()?.flush(),
            Self::Zstandard(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl<W: Write> Write for CompressedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstandard(encoder) => encoder.write(bytes),
        }
    }

    /// Lets a reader have everything so far, within the same member or frame.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstandard(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_how_it_is_compressed() {
        let of = |name: &str| {
            let (compression, rest) = compression_of(Path::new(name));
            (compression, rest.display().to_string())
        };
        assert_eq!(of("a/x.pcap.gz"), (OutputCompression::Gzip, "a/x.pcap".into()));
        assert_eq!(of("x.pcapng.zst"), (OutputCompression::Zstandard, "x.pcapng".into()));
        assert_eq!(of("x.pcap"), (OutputCompression::Plain, "x.pcap".into()));
        assert_eq!(of("-"), (OutputCompression::Plain, "-".into()));
    }
}
