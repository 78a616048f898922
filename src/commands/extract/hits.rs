//! The table of `--hits`: which addresses of a list the packets have.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use netrewind_extractor::flows::write_csv;
use netrewind_extractor::lists::{AddressList, HITS_MAX, HitSink, ListedHit};
use netrewind_extractor::{Answer, CountSink, Query, Sink};

use super::output::{named, standard_output};
use crate::commands::destination::Destination;
use crate::commands::progress::ProgressDisplay;
use crate::commands::target::{NoAnswer, QueryTarget};
use crate::outcome::Failure;
use crate::terminal;

/// The file for the table, which is complete or not there at all.
pub struct OpenedHits {
    name: PathBuf,
    file: File,
    /// `None` for standard output.
    destination: Option<Destination>,
    hosts: AddressList,
    found: (Vec<ListedHit>, u64),
}

impl OpenedHits {
    /// Opens the file for the hits of a query's list of addresses; `None` where it has none.
    pub fn open(name: &Path, query: &Query) -> Result<Option<Self>, NoAnswer> {
        let Some(hosts) = query.lists.hosts.clone() else { return Ok(None) };
        let (file, destination) = match name == Path::new("-") {
            true => (standard_output().map_err(|error| named(name, &error))?, None),
            false => {
                let opened = Destination::open(name, false).map_err(|error| named(name, &error))?;
                (opened.0, Some(opened.1))
            }
        };
        Ok(Some(Self { name: name.to_owned(), file, destination, hosts, found: Default::default() }))
    }

    /// The folder in which the file is put in its place.
    pub fn folder(&self) -> Option<PathBuf> {
        self.destination.as_ref().and_then(Destination::folder)
    }

    /// Has the packets given to `sink`, counted before.
    pub fn counting(
        &mut self,
        sink: &mut dyn Sink,
        extract: impl FnOnce(&mut dyn Sink) -> Result<Answer, NoAnswer>,
    ) -> Result<Answer, NoAnswer> {
        let mut counting = HitSink::new(sink, self.hosts.clone(), HITS_MAX);
        let answer = extract(&mut counting);
        self.found = counting.finish();
        answer
    }

    /// Counts the packets of the query, and their hits.
    pub fn count(
        &mut self,
        target: &QueryTarget,
        query: &Query,
        control: &mut ProgressDisplay,
    ) -> Result<Answer, NoAnswer> {
        self.counting(&mut CountSink, |sink| target.extract(query, sink, control, None))
    }

    /// Removes the unfinished file: there is no answer.
    pub fn give_up(self) {
        // What went wrong first is told.
        let _ = self.destination.map(Destination::give_up);
    }

    /// Writes the table.
    pub fn keep(self) -> Result<(), Failure> {
        let Self { name, file, destination, found: (hits, uncounted), .. } = self;
        let written = write_csv(&hits, BufWriter::new(file));
        let kept = written.and_then(|()| destination.map_or(Ok(()), Destination::keep));
        match kept {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            kept => kept.map_err(|error| named(&name, &error))?,
        }
        if uncounted > 0 {
            terminal::say(format_args!(
                "{HITS_MAX} addresses are counted: the hits of further ones, {uncounted} in all, are not in the table"
            ));
        }
        Ok(())
    }
}
