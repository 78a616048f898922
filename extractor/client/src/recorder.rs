//! A recorder that is asked: over HTTP, or here, in its store.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use netrewind_extractor::Query;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use crate::connection::{Connection, Piece};
use crate::error::Trouble;
use crate::question::Question;
use crate::stored::StoredRecorder;

/// A recorder that is asked.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub(super) enum AskedRecorder {
    Distant(Connection),
    Stored(StoredRecorder),
    /// One whose store is known to be unreadable.
    Unreadable {
        name: String,
        trouble: String,
    },
}

impl AskedRecorder {
    /// The name by which users know it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Distant(connection) => &connection.name,
            Self::Stored(recorder) => &recorder.name,
            Self::Unreadable { name, .. } => name,
        }
    }

    /// Starts an answer, whose pieces come as fast as they are taken.
    pub(super) fn start(
        &self,
        runtime: &Runtime,
        query: &Query,
        fields: &Map<String, Value>,
        pieces: Sender<Piece>,
    ) {
        match self {
            Self::Distant(connection) => {
                drop(runtime.spawn(connection.clone().stream(fields.clone(), pieces)))
            }
            Self::Stored(recorder) => recorder.start(query.clone(), pieces),
            Self::Unreadable { trouble, .. } => {
                // The channel is new, and has room.
                let _ = pieces.try_send(Piece::End(Err(Trouble::Silent(trouble.clone()))));
            }
        }
    }

    /// Asks for one object, until nobody waits for it.
    pub(super) fn look_up(
        &self,
        runtime: &Runtime,
        question: &Question,
        query: &Query,
        fields: &Map<String, Value>,
        given_up: &Arc<AtomicBool>,
    ) -> JoinHandle<Result<Value, Trouble>> {
        match self {
            Self::Distant(connection) => {
                runtime.spawn(connection.clone().look_up(question.clone(), fields.clone()))
            }
            Self::Stored(recorder) => {
                recorder.look_up(runtime, question.clone(), query.clone(), Arc::clone(given_up))
            }
            Self::Unreadable { trouble, .. } => {
                let trouble = Trouble::Silent(trouble.clone());
                runtime.spawn(async { Err(trouble) })
            }
        }
    }
}
