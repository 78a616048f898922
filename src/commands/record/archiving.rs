//! Segments that go into an archive while they are recorded.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_archive::upload::{self, ArchiveStatus, ArchiveThread, ArchiveUpload, FINAL_TIME_MAX, Waiting};
use netrewind_archive::{ArchiveUrl, Bucket};
use netrewind_indexer::Workplace;
use netrewind_store::{Event, locked};

use crate::archive_access;
use crate::arguments::{bytes, duration};
use crate::confine::Walls;
use crate::outcome::Failure;
use crate::terminal;

/// Settings for uploading.
#[derive(Debug, clap::Args)]
pub struct ArchivePace {
    /// Age at which days expire in the archive, from their end [default: never]
    #[arg(long, value_name = "DURATION", value_parser = age_max)]
    pub archive_max_age: Option<Duration>,
    /// Rate at which to send into the archive, in bytes a second, such as 20MB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub archive_rate: Option<u64>,
}

fn age_max(text: &str) -> Result<Duration, String> {
    let age = duration(text).map_err(|error| error.to_string())?;
    if age < upload::AGE_MIN {
        Err("an archive keeps at least 1d: whole days expire".to_owned())
    } else {
        Ok(age)
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let rate = bytes(text)?;
    match (upload::RATE_MIN..=upload::RATE_MAX).contains(&rate) {
        true => Ok(rate),
        false => Err(format!("{text:?} is not a rate from 64KiB to 100GiB a second")),
    }
}

/// Archive of a recording.
#[derive(Debug, clap::Args)]
pub struct ArchivingArguments {
    /// Also upload sealed segments into this archive: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or
    /// file:///FOLDER; keys come from the environment, a profile or the machine's role (see docs/archive.md)
    #[arg(long, value_name = "URL")]
    archive: Option<ArchiveUrl>,
    #[command(flatten)]
    pace: ArchivePace,
}

/// Uploading that is about to begin.
pub struct PreparedArchive {
    url: Option<ArchiveUrl>,
    upload: Option<ArchiveUpload>,
    state: ArchiveState,
}

/// State of the archive, for the user.
#[derive(Clone, Default)]
pub struct ArchiveState(Option<Arc<Mutex<ArchiveStatus>>>);

impl ArchivingArguments {
    /// What is said at the end if there is an archive, and it could not be opened.
    pub fn left(&self, store: &Path) -> Option<String> {
        let url = self.archive.as_ref()?;
        Some(format!("What was recorded is not in {url} yet\n{}", remedy(store, &url.to_string())))
    }

    /// Prepares the connection. What fails is told of, and does not keep from recording.
    pub fn prepare(&self) -> Result<PreparedArchive, Failure> {
        let ArchivePace { archive_max_age, archive_rate } = self.pace;
        if self.archive.is_none() && (archive_max_age.is_some() || archive_rate.is_some()) {
            return Err(Failure::usage("--archive-max-age and --archive-rate need --archive"));
        }
        let environment = archive_access::environment();
        let opened = self.archive.as_ref().map(|url| Bucket::open_at_rate(url, &environment, archive_rate));
        let (upload, state) = match opened {
            None => (None, ArchiveState::default()),
            Some(Ok(bucket)) => {
                let upload = ArchiveUpload::new(bucket, archive_max_age);
                let state = ArchiveState(Some(upload.status()));
                (Some(upload), state)
            }
            Some(Err(error)) => {
                let trouble = Some(format!("{error}; it is tried again at the next start"));
                let status = ArchiveStatus { trouble, ..ArchiveStatus::default() };
                (None, ArchiveState(Some(Arc::new(Mutex::new(status)))))
            }
        };
        Ok(PreparedArchive { url: self.archive.clone(), upload, state })
    }
}

impl PreparedArchive {
    /// Walls that leave what it needs.
    pub fn walls(&self, walls: Walls) -> Walls {
        let environment = archive_access::environment();
        self.url.iter().fold(walls, |walls, url| archive_access::writing_walls(walls, url, &environment))
    }

    /// Its state, at any time.
    pub fn state(&self) -> ArchiveState {
        self.state.clone()
    }

    /// Starts uploading.
    pub fn start(self, place: &Workplace) -> Result<Option<ArchiveThread>, Failure> {
        if let (None, Some(url), Some(status)) = (&self.upload, &self.url, &self.state.0) {
            let event = Event::Archive {
                archive: url.to_string(),
                segments: 0,
                bytes: 0,
                waiting_segments: 0,
                waiting_bytes: 0,
                oldest: None,
                removed: 0,
                trouble: locked(status).trouble.clone(),
            };
            // A logbook that cannot be written is the recorder's to report.
            let _ = locked(&place.logbook).append(place.clock.now().wall, event);
        }
        let Some(upload) = self.upload else { return Ok(None) };
        let (logbook, clock) = (Arc::clone(&place.logbook), Arc::clone(&place.clock));
        Ok(Some(upload.start(&place.store, logbook, clock, &*place.threads)?))
    }
}

/// Time after which it is told that what was sealed last is still being sent.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Interval between two looks whether that is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Sends what was sealed last, within [`FINAL_TIME_MAX`] and until `hurry` is set; says what is left, and how to send it.
pub fn finish(archive: ArchiveThread, store: &Path, hurry: &AtomicBool) -> String {
    let (url, mut looks) = (archive.url(), 0);
    let quiet_looks = QUIET_TIME.as_millis() / LOOK_INTERVAL.as_millis();
    let status = archive.finish_with_the_last(&mut || {
        std::thread::sleep(LOOK_INTERVAL);
        looks += 1;
        if looks == quiet_looks {
            let time = FINAL_TIME_MAX.as_secs();
            terminal::say(format_args!(
                "Sending what was sealed last to {url}, for at most {time} s: a second signal leaves it for later"
            ));
        }
        !hurry.load(Ordering::Relaxed)
    });
    let ArchiveStatus { waiting, trouble, .. } = status;
    if waiting.segments == 0 && trouble.is_none() {
        return format!("Everything is in {url}");
    }
    let trouble = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
    let left = match waiting.segments {
        0 => "Not everything is".to_owned(),
        1 => format!("1 segment ({}) is not", terminal::bytes(waiting.bytes)),
        segments => format!("{segments} segments ({}) are not", terminal::bytes(waiting.bytes)),
    };
    format!("{left} in {url} yet{trouble}\n{}", remedy(store, &url))
}

/// How to send what is left.
fn remedy(store: &Path, url: &str) -> String {
    let store = store.display();
    format!("The next recording sends it, or: netrewind archive --store {store} --archive {url} --now")
}

impl ArchiveState {
    /// Reason why nothing is archived at the moment, in words.
    pub fn trouble(&self) -> Option<String> {
        let trouble = locked(self.0.as_ref()?).trouble.clone()?;
        Some(format!("Segments cannot be archived: {trouble}"))
    }

    /// What is archived and what waits, for the status line.
    pub fn text(&self) -> String {
        let Some(status) = self.0.as_ref().map(|status| locked(status).clone()) else {
            return String::new();
        };
        let ArchiveStatus { segments, unarchived, waiting, .. } = status;
        let mut text = format!("  {segments} archived");
        if waiting.segments > 0 {
            text.push_str(&format!(", {}", waiting_text(&waiting)));
        }
        if unarchived > 0 {
            text.push_str(&format!(", {unarchived} expired before"));
        }
        text
    }
}

/// `3 wait (2.1 GiB)`.
pub fn waiting_text(waiting: &Waiting) -> String {
    format!("{} wait ({})", waiting.segments, terminal::bytes(waiting.bytes))
}
