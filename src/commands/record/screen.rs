//! Output of a recorder for the user: a line that is rewritten, and lines that stay.

use std::collections::BTreeMap;

use netrewind_recorder::recorder::{LaneStatus, Recorder, Status};
use netrewind_store::time::SECOND_NS;

use super::archiving::ArchiveState;
use super::exporting::ExportState;
use crate::clock;
use crate::signals::Requests;
use crate::terminal::{self, StatusLine};

/// Output of a recorder.
pub struct Screen {
    /// The line that is rewritten.
    pub line: StatusLine,
    /// Number of notices printed.
    pub notices: usize,
    /// Limit of the store.
    pub budget: Option<u64>,
    /// The printed reason that packets cannot be written.
    trouble: Option<String>,
    /// Interfaces that are said to be down, and why.
    down: BTreeMap<String, String>,
    /// What leaves the store.
    pub exports: ExportState,
    /// What goes into the archive.
    archive: ArchiveState,
    /// What is said to be wrong with them.
    export_trouble: Vec<String>,
}

impl Screen {
    /// Output that has said nothing yet, with the interfaces that are down, and why.
    pub fn new(
        budget: Option<u64>,
        down: BTreeMap<String, String>,
        (exports, archive): (ExportState, ArchiveState),
    ) -> Self {
        let (line, notices, trouble, export_trouble) = (StatusLine::new(), 0, None, Vec::new());
        Self { line, notices, budget, trouble, down, exports, archive, export_trouble }
    }

    /// Says what keeps hours, flows and segments from leaving.
    fn tell_exports(&mut self) {
        let mut trouble = self.exports.trouble();
        trouble.extend(self.archive.trouble());
        for reason in trouble.iter().filter(|reason| !self.export_trouble.contains(reason)) {
            self.line.clear();
            terminal::say(reason);
        }
        self.export_trouble = trouble;
    }

    /// Says what SIGHUP without a terminal has changed.
    pub fn tell_reload(&mut self, told: &[String]) {
        self.line.clear();
        terminal::say(
            "SIGHUP without a terminal: recording goes on. Tokens, certificates and databases are reloaded when they change.",
        );
        told.iter().for_each(terminal::say);
    }

    /// Does what signals ask for besides stopping.
    pub fn answer(&mut self, requests: &Requests, recorder: &Recorder) {
        if requests.take_tell() {
            let text = self.text(&recorder.status());
            self.line.clear();
            terminal::say(text);
        }
    }

    /// Reports at once that packets cannot be written any more, and that they can again.
    pub fn tell_trouble(&mut self, trouble: Option<String>) {
        match (&self.trouble, &trouble) {
            (None, Some(reason)) => {
                self.line.clear();
                terminal::say(format_args!("Packets cannot be written: {reason}"));
            }
            (Some(_), None) => {
                self.line.clear();
                terminal::say("Packets are written again.");
            }
            _ => {}
        }
        self.trouble = trouble;
    }

    /// Says which interfaces have gone since the last look, and which are back.
    fn tell_changes(&mut self, lanes: &[LaneStatus]) {
        let down = lanes.iter().filter_map(|lane| Some((lane.interface.clone(), lane.down.clone()?)));
        let down: BTreeMap<_, _> = down.collect();
        if down.keys().eq(self.down.keys()) {
            return;
        }
        self.line.clear();
        for (_, reason) in down.iter().filter(|(interface, _)| !self.down.contains_key(*interface)) {
            terminal::say(format_args!("No packets are received from {reason}"));
        }
        for (interface, _) in self.down.iter().filter(|(interface, _)| !down.contains_key(*interface)) {
            terminal::say(format_args!("{interface} is back: recording resumes"));
        }
        self.down = down;
    }

    /// Shows the status, and says what is new.
    pub fn show(&mut self, status: &Status) {
        for notice in status.notices.iter().skip(self.notices) {
            self.line.clear();
            terminal::say(notice);
        }
        self.notices = status.notices.len();
        self.tell_changes(&status.lanes);
        self.tell_exports();
        if self.line.is_visible() {
            let text = self.text(status);
            self.line.show(&text);
        }
    }

    fn text(&self, status: &Status) -> String {
        let now = clock::now();
        let store = terminal::bytes(status.usage.bytes);
        let store =
            self.budget.map_or(store.clone(), |budget| format!("{store} of {}", terminal::bytes(budget)));
        let store = match status.usage.held_bytes {
            0 => store,
            held => format!("{store} ({} held)", terminal::bytes(held)),
        };
        let rewind = status.usage.oldest.map_or_else(
            || "nothing to rewind to yet".to_owned(),
            |oldest| format!("rewind to {} ago", terminal::span(now.ns_since(oldest) / SECOND_NS)),
        );
        let mut text = format!(
            "{}packets/s  {}bit/s  {} dropped  {store}  {rewind}",
            terminal::thousands(status.packets_per_second),
            terminal::thousands(status.bits_per_second),
            status.account.dropped.total(),
        );
        text.push_str(&pace_text(&status.lanes));
        text.push_str(&self.exports.text());
        text.push_str(&self.archive.text());
        for LaneStatus { interface, down, is_disk_failing, .. } in &status.lanes {
            if down.is_some() {
                text.push_str(&format!("  {interface} is down"));
            }
            if *is_disk_failing {
                text.push_str("  the disk fails");
            }
        }
        text
    }
}

/// Measures of how well the lanes keep up: the fullest ring and the slowest write of the last second.
fn pace_text(lanes: &[LaneStatus]) -> String {
    let rings = lanes.iter().filter_map(|lane| lane.pace.ring).map(|ring| ring.share());
    let slowest_us = lanes.iter().map(|lane| lane.pace.writes.slowest_us).max().filter(|&us| us > 0);
    let ring = rings.reduce(f64::max).map(|share| format!("  ring {}", terminal::percent(share)));
    let write = slowest_us.map(|us| format!("  write {}", terminal::moment(us as f64 / 1e6)));
    ring.into_iter().chain(write).collect()
}
