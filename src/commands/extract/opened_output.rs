//! The output that an answer is written to: a file that is complete or not there at all, compressed as its name says, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use netrewind_cases::HashingWriter;
use netrewind_extractor::packet_list::TextSink;
use netrewind_extractor::{Answer, PcapSink, PcapngSink, Query, Sink, TruncatingSink};

use super::evidence::{Evidence, OpenedManifest};
use super::hits::OpenedHits;
use super::output::{OutputKind, io_error, named, standard_output};
use crate::commands::compressed::{CompressedWriter, OutputCompression, compression_of};
use crate::commands::destination::Destination;
use crate::commands::following::FollowingClock;
use crate::commands::progress::ProgressDisplay;
use crate::commands::target::{NoAnswer, QueryTarget};
use crate::outcome::Failure;

/// Bytes of the answer gathered before they are written.
const OUTPUT_BUFFER_BYTES: usize = 1 << 18;

/// Where an answer is written to: standard output, or a file that is complete or not there at all.
pub struct OpenedOutput<'e> {
    name: PathBuf,
    file: File,
    /// `None` for standard output.
    destination: Option<Destination>,
    manifest: Option<OpenedManifest<'e>>,
    kind: OutputKind,
    compression: OutputCompression,
    form: AnswerForm<'e>,
}

/// What an answer comes with.
#[derive(Clone, Copy)]
pub struct AnswerForm<'e> {
    /// Whose manifest is written beside it, if any.
    pub evidence: Option<&'e Evidence>,
    /// TLS secrets in it.
    pub secrets: &'e [u8],
    /// Format that was asked for; otherwise the name says it.
    pub format: Option<&'e str>,
    /// Bytes kept of each packet.
    pub snaplen: Option<u32>,
    /// True if it goes on with new packets.
    pub follows: bool,
}

impl<'e> OpenedOutput<'e> {
    /// Opens it, and the files beside it.
    pub fn open(output: &Path, form: AnswerForm<'e>) -> Result<Self, NoAnswer> {
        let name = output.to_owned();
        let (compression, bare) = compression_of(output);
        let kind = OutputKind::of(&bare, form.format);
        let AnswerForm { evidence, secrets, follows, .. } = form;
        if !secrets.is_empty() && kind != OutputKind::Pcapng {
            return Err(NoAnswer::Because(Failure::usage(
                "--keylog needs a pcapng file, a pcap file has no room for secrets: name it FILE.pcapng, or give --format pcapng",
            )));
        }
        if output == Path::new("-") {
            let file = standard_output().map_err(io_error)?;
            return Ok(Self { name, file, destination: None, manifest: None, kind, compression, form });
        }
        let opened = Destination::open(output, follows);
        let (file, destination) = opened.map_err(|error| named(output, &error))?;
        let manifest = evidence.map(|evidence| OpenedManifest::open(output, &file, evidence)).transpose();
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                // What went wrong first is told.
                let _ = destination.give_up();
                return Err(named(output, &error).into());
            }
        };
        Ok(Self { name, file, destination: Some(destination), manifest, kind, compression, form })
    }

    /// The folders in which files are put in their places.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let of_file = self.destination.as_ref().and_then(Destination::folder);
        of_file.into_iter().chain(self.manifest.as_ref().and_then(OpenedManifest::folder))
    }

    /// Writes the answer.
    pub fn extract(
        self,
        target: &QueryTarget,
        query: &Query,
        control: &mut ProgressDisplay,
        hits: Option<&mut OpenedHits>,
    ) -> Result<Answer, NoAnswer> {
        let Self { name, file, destination, manifest, kind, compression, form } = self;
        let reader = file.try_clone().map_err(io_error)?;
        let output: Box<dyn Write> = match &manifest {
            Some(manifest) => Box::new(HashingWriter::new(file, &manifest.tally, None)),
            None => Box::new(file),
        };
        let mut output = CompressedWriter::new(output, compression).map_err(io_error)?;
        let file = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, &mut output);
        let mut sink: Box<dyn Sink + '_> = match kind {
            OutputKind::Pcap => Box::new(PcapSink::new(file)),
            OutputKind::Pcapng => Box::new(PcapngSink::new(file).with_secrets(form.secrets.to_vec())),
            OutputKind::Text => Box::new(TextSink::new(file)),
        };
        let clock = form.follows.then(|| FollowingClock::new(reader));
        let mut extract = |sink: &mut dyn Sink| target.extract(query, sink, control, clock.as_ref());
        let mut truncating;
        let written: &mut dyn Sink = match form.snaplen {
            Some(snaplen) => {
                truncating = TruncatingSink::new(sink.as_mut(), snaplen);
                &mut truncating
            }
            None => sink.as_mut(),
        };
        let answer = match hits {
            Some(hits) => hits.counting(written, extract),
            None => extract(written),
        };
        drop(sink);
        let answer = answer.and_then(|answer| match output.finish() {
            Ok(()) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NoAnswer::ReaderGone),
            Err(error) => Err(named(&name, &error).into()),
        });
        let kept = match destination {
            Some(destination) if answer.is_ok() => destination.keep(),
            Some(destination) => destination.give_up(),
            None => Ok(()),
        };
        let kept = match (manifest, &answer) {
            (Some(manifest), Ok(answer)) => kept.and_then(|()| manifest.keep(query, answer)),
            (Some(manifest), Err(_)) => manifest.give_up(),
            (None, _) => kept,
        };
        answer.and_then(|answer| Ok(kept.map_err(|error| named(&name, &error)).map(|()| answer)?))
    }
}
