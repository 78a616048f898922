//! SHA-256 of a file (FIPS 180-4), taken while it is written or read.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use netrewind_store::locked;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Bytes of a file that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Length and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Its length.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl FileHash {
    /// Of everything that can be read.
    pub fn of(file: &mut dyn Read) -> io::Result<Self> {
        let (mut tally, mut buffer) = (RunningHash::default(), vec![0; READ_BYTES]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(tally.end()),
                Ok(read) => tally.add(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

struct RunningHash {
    context: Context,
    bytes: u64,
}

impl Default for RunningHash {
    fn default() -> Self {
        Self { context: Context::new(&SHA256), bytes: 0 }
    }
}

impl RunningHash {
    fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn end(&self) -> FileHash {
        FileHash { bytes: self.bytes, sha256: hexadecimal(self.context.clone().finish().as_ref()) }
    }
}

/// Two lower-case digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hash of what a [`HashingWriter`] has written so far, for whoever gave the writer away.
#[derive(Clone, Default)]
pub struct HashTally(Arc<Mutex<RunningHash>>);

impl HashTally {
    /// Length and hash of what was written.
    pub fn hash(&self) -> FileHash {
        locked(&self.0).end()
    }
}

/// Writes to another writer, and hashes what that takes. To be used below a buffer.
pub struct HashingWriter<W> {
    output: W,
    tally: HashTally,
    bytes_max: Option<u64>,
}

impl<W: Write> HashingWriter<W> {
    /// Writes to `output`, and counts in `tally`; more than `bytes_max` is an error.
    pub fn new(output: W, tally: &HashTally, bytes_max: Option<u64>) -> Self {
        Self { output, tally: tally.clone(), bytes_max }
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut hash = locked(&self.tally.0);
        if self.bytes_max.is_some_and(|most| hash.bytes + bytes.len() as u64 > most) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.output.write(bytes)?;
        hash.add(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_what_is_read_have_the_same_hash() {
        // FIPS 180-2, appendix B.1.
        const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let (tally, mut output) = (HashTally::default(), Vec::new());
        let mut writer = HashingWriter::new(&mut output, &tally, Some(3));
        writer.write_all(b"a").unwrap();
        writer.write_all(b"bc").unwrap();
        assert_eq!(writer.write_all(b"d").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(tally.hash(), FileHash { bytes: 3, sha256: ABC.to_owned() });
        assert_eq!(FileHash::of(&mut &output[..]).unwrap(), tally.hash());
    }
}
