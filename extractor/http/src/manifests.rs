//! Manifests of answers that were sent, kept for whoever asked for them.
//!
//! An answer's hash is known once all of it has been sent, and then its head has long gone. So the asker names the manifest beforehand
//! (`manifest=NAME`), and fetches it under that name.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use netrewind_store::locked;
use tokio::sync::watch;

use crate::manifest_name::ManifestName;
use crate::problem::{Kind, Problem};

/// Manifests that are kept; of those that are ready the oldest goes first.
pub const MANIFESTS_KEPT_MAX: usize = 256;
/// Time for which a manifest is kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Longest wait for the end of an answer; for its beginning.
const END_WAIT: Duration = Duration::from_secs(20);
const BEGIN_WAIT: Duration = Duration::from_secs(3);

/// A manifest, its signature, and the name of the file that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeManifest {
    /// Name of the file.
    pub file: String,
    /// The manifest as it is sent.
    pub text: Bytes,
    /// Signature of these bytes.
    pub signature: Option<Bytes>,
}

/// State of a manifest.
#[derive(Clone, Debug)]
enum Stage {
    /// The answer is being sent.
    Sending,
    /// It was ready at this time.
    Made(MadeManifest, u64),
    /// The answer broke off.
    BrokenOff,
}

#[derive(Debug)]
struct KeptManifest {
    who: String,
    name: ManifestName,
    begun_ns: u64,
    stage: watch::Sender<Stage>,
}

impl KeptManifest {
    fn is_sending(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Sending)
    }

    /// Time from which on it is kept.
    fn since_ns(&self) -> u64 {
        match *self.stage.borrow() {
            Stage::Made(_, ready_ns) => ready_ns,
            Stage::Sending | Stage::BrokenOff => self.begun_ns,
        }
    }
}

/// The manifests of answers.
#[derive(Debug, Default)]
pub struct Manifests {
    kept: Mutex<VecDeque<KeptManifest>>,
    begun: tokio::sync::Notify,
}

impl Manifests {
    /// Begins one, which the asker can wait for from now on.
    pub fn begin(&self, who: &str, name: ManifestName, now_ns: u64) -> Result<PendingManifest, Problem> {
        let mut kept = locked(&self.kept);
        let is_old =
            |one: &KeptManifest| Duration::from_nanos(now_ns.saturating_sub(one.since_ns())) > KEPT_FOR;
        kept.retain(|one| one.is_sending() || !is_old(one));
        let own = kept.iter().position(|one| one.who == who && one.name == name);
        if let Some(own) = own {
            if kept.get(own).is_some_and(KeptManifest::is_sending) {
                let detail = "manifest: an answer that is being sent has this name: choose another";
                return Err(Problem::new(Kind::BadParameter, detail).with("parameter", "manifest"));
            }
            kept.remove(own);
        }
        if kept.len() >= MANIFESTS_KEPT_MAX {
            let oldest = kept.iter().position(|one| !one.is_sending());
            let Some(oldest) = oldest else {
                return Err(Problem::new(Kind::Busy, "too many answers with a manifest are being sent"));
            };
            kept.remove(oldest);
        }
        let stage = watch::Sender::new(Stage::Sending);
        kept.push_back(KeptManifest { who: who.to_owned(), name, begun_ns: now_ns, stage: stage.clone() });
        drop(kept);
        self.begun.notify_waiters();
        Ok(PendingManifest { stage })
    }

    fn stage_of(&self, who: &str, name: &ManifestName) -> Option<watch::Receiver<Stage>> {
        let kept = locked(&self.kept);
        kept.iter().find(|one| one.who == who && one.name == *name).map(|one| one.stage.subscribe())
    }

    /// Waits for a manifest.
    pub async fn made(&self, who: &str, name: &ManifestName) -> Result<MadeManifest, Problem> {
        let unknown = || {
            let detail = "there is no manifest of this name: ask for packets with manifest=NAME, and fetch it within ten minutes of their end";
            Problem::new(Kind::NotFound, detail)
        };
        let begun = self.begun.notified();
        let stage = match self.stage_of(who, name) {
            Some(stage) => Some(stage),
            None => {
                // The page asks for both at once.
                let _ = tokio::time::timeout(BEGIN_WAIT, begun).await;
                self.stage_of(who, name)
            }
        };
        let mut stage = stage.ok_or_else(unknown)?;
        let ended = tokio::time::timeout(END_WAIT, stage.wait_for(|stage| !matches!(stage, Stage::Sending)));
        match ended.await {
            Err(_) => {
                let detail =
                    "the answer of this name is still being sent: its manifest follows when it has ended";
                Err(Problem::new(Kind::NotFound, detail).with("pending", true))
            }
            Ok(Err(_)) => Err(unknown()),
            Ok(Ok(stage)) => match &*stage {
                Stage::Made(made, _) => Ok(made.clone()),
                Stage::Sending | Stage::BrokenOff => {
                    let detail = "the answer of this name broke off, so there is no file to vouch for";
                    Err(Problem::new(Kind::NotFound, detail))
                }
            },
        }
    }
}

/// A manifest whose answer is being sent. Dropped before its end, there is none.
#[derive(Debug)]
pub struct PendingManifest {
    stage: watch::Sender<Stage>,
}

impl PendingManifest {
    /// Keeps it, once all of the answer has been sent.
    pub fn complete(self, made: MadeManifest, now_ns: u64) {
        self.stage.send_replace(Stage::Made(made, now_ns));
    }
}

impl Drop for PendingManifest {
    fn drop(&mut self) {
        self.stage.send_if_modified(|stage| {
            let is_sending = matches!(stage, Stage::Sending);
            if is_sending {
                *stage = Stage::BrokenOff;
            }
            is_sending
        });
    }
}
