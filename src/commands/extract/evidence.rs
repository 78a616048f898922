//! The manifest beside an output, and its signature.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use netrewind_cases::{EvidenceManifest, EvidenceSource, HashTally, SignerKey};
use netrewind_extractor::{Answer, Query};

use super::super::destination::Destination;
use crate::clock;

/// Ending of a manifest's name, behind the name of its file, and of its signature's, behind that.
const MANIFEST_ENDING: &str = ".manifest.json";
const SIGNATURE_ENDING: &str = ".sig";

/// Path of the manifest of a file.
pub fn manifest_path(file: &Path) -> PathBuf {
    with_ending(file, MANIFEST_ENDING)
}

/// Path of the signature of a manifest.
pub fn signature_path(manifest: &Path) -> PathBuf {
    with_ending(manifest, SIGNATURE_ENDING)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(ending);
    name.into()
}

/// What manifests say besides the answer, and what signs them.
pub struct Evidence {
    /// Where the packets come from.
    pub source: EvidenceSource,
    /// The key that signs.
    pub signer: Option<SignerKey>,
    /// Bytes kept of each packet, if they are cut.
    pub snaplen: Option<u32>,
}

/// A file beside the output, which is not in its place yet.
struct BesideFile {
    file: File,
    destination: Destination,
}

impl BesideFile {
    fn open(path: &Path) -> io::Result<Self> {
        let (file, destination) = Destination::open(path, false)?;
        Ok(Self { file, destination })
    }

    fn write(mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes).and_then(|()| self.file.sync_all()) {
            Ok(()) => self.destination.keep(),
            Err(error) => self.destination.give_up().and(Err(error)),
        }
    }
}

/// A manifest that is still to be written, and where.
pub struct OpenedManifest<'e> {
    evidence: &'e Evidence,
    file: PathBuf,
    path: PathBuf,
    manifest: BesideFile,
    signature: Option<BesideFile>,
    /// Hash of the file, as it is written.
    pub tally: HashTally,
}

impl<'e> OpenedManifest<'e> {
    /// The manifest of an output, which must be a file with a name.
    pub fn open(output: &Path, opened: &File, evidence: &'e Evidence) -> io::Result<Self> {
        if !opened.metadata()?.is_file() {
            let text = "--manifest needs a file that stays: this is a pipe or a device";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let path = manifest_path(output);
        let manifest = BesideFile::open(&path)?;
        let signature = match &evidence.signer {
            None => None,
            Some(_) => match BesideFile::open(&signature_path(&path)) {
                Ok(signature) => Some(signature),
                Err(error) => return manifest.destination.give_up().and(Err(error)),
            },
        };
        let tally = HashTally::default();
        Ok(Self { evidence, file: output.to_owned(), path, manifest, signature, tally })
    }

    /// The folder in which it is put in its place.
    pub fn folder(&self) -> Option<PathBuf> {
        self.manifest.destination.folder()
    }

    /// Writes it, after its file has been put in its place.
    pub fn keep(self, query: &Query, answer: &Answer) -> io::Result<()> {
        let Self { evidence, file, path, manifest, signature, tally } = self;
        let Evidence { source, signer, snaplen } = evidence;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut made = EvidenceManifest::of(
            &name,
            tally.hash(),
            clock::now(),
            source.clone(),
            (query, answer),
            signer.as_ref(),
        );
        made.snaplen = *snaplen;
        let text = made.text();
        // An earlier one does not fit this manifest.
        match fs::remove_file(signature_path(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        manifest.write(text.as_bytes())?;
        match (signature, signer) {
            (Some(file), Some(signer)) => file.write(&signer.sign(text.as_bytes())),
            _ => Ok(()),
        }
    }

    /// Discards it: there is no answer.
    pub fn give_up(self) -> io::Result<()> {
        let given_up = self.manifest.destination.give_up();
        self.signature.map_or(Ok(()), |signature| signature.destination.give_up()).and(given_up)
    }
}
