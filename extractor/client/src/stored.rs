//! A recorder whose store is read here, such as one in an archive: its answer comes in the same pieces as one over HTTP.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_extractor::flows::{FlowQuery, Search, SummaryQuery};
use netrewind_extractor::{
    Answer, AnswerPacket, AnswerRecords, Completeness, Control, Estimate, ExtractError, Extractor, Interface,
    PcapngSink, Preface, Query, Sink, SinkError, Wants,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use crate::connection::Piece;
use crate::error::Trouble;
use crate::pcapng_stream::Blocks;
use crate::question::Question;

/// Bytes of an answer that become a piece.
const PIECE_BYTES: usize = 64 << 10;

/// A recorder whose store is read here.
#[derive(Clone, Debug)]
pub(super) struct StoredRecorder {
    /// The id of its store.
    pub(super) name: String,
    extractor: Arc<Extractor>,
}

/// Ends an answer once nobody listens.
struct WhileHeard<'s>(&'s Sender<Piece>);

impl Control for WhileHeard<'_> {
    fn cancelled(&self) -> bool {
        self.0.is_closed()
    }
}

/// Ends an answer once it is given up.
struct UntilGivenUp(Arc<AtomicBool>);

impl Control for UntilGivenUp {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bounds of an answer, as a recorder over HTTP tells them.
#[derive(Serialize)]
struct BoundedAnswer {
    #[serde(flatten)]
    estimate: Estimate,
    completeness: Completeness,
}

/// Makes pieces of a pcapng file.
struct PieceWriter<'s> {
    blocks: Blocks,
    pieces: &'s Sender<Piece>,
}

impl Write for PieceWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blocks.feed(bytes);
        let mut found = Vec::new();
        while let Some(block) = self.blocks.next().map_err(io::Error::other)? {
            found.push(block);
        }
        let sent = self.pieces.blocking_send(Piece::Blocks(found));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells first what is known before reading, as the header of an answer over HTTP does.
struct HeadedSink<'s, W: Write> {
    sink: PcapngSink<W>,
    pieces: &'s Sender<Piece>,
}

impl<W: Write> Sink for HeadedSink<'_, W> {
    fn wants(&self) -> Wants {
        self.sink.wants()
    }

    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        let head = json!({ "complete": preface.completeness.is_complete() });
        // Whoever does not listen any more is noticed with the first packets.
        let _ = self.pieces.blocking_send(Piece::Head(head));
        self.sink.begin(preface)
    }

    fn secrets(&mut self, key_log: &[u8]) -> Result<(), SinkError> {
        self.sink.secrets(key_log)
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        self.sink.packet(packet)
    }

    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        self.sink.records(records)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.sink.flush()
    }

    fn know_interfaces(&mut self, interfaces: &[Interface]) {
        self.sink.know_interfaces(interfaces);
    }

    fn finish(&mut self, answer: &Answer) -> Result<(), SinkError> {
        self.sink.finish(answer)
    }
}

fn trouble(error: ExtractError) -> Trouble {
    match error {
        ExtractError::UnknownInterface { .. } => Trouble::NoSuchInterface(error.to_string()),
        ExtractError::Filter(_) | ExtractError::Search(_) | ExtractError::TooManyChosen(_) => {
            Trouble::Wrong(error.to_string())
        }
        error => Trouble::Silent(error.to_string()),
    }
}

impl StoredRecorder {
    pub(super) fn new(name: String, extractor: Arc<Extractor>) -> Self {
        Self { name, extractor }
    }

    /// Starts an answer, whose pieces come as fast as they are taken.
    pub(super) fn start(&self, query: Query, pieces: Sender<Piece>) {
        let extractor = Arc::clone(&self.extractor);
        let failed = pieces.clone();
        let started = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            let end = answer(&extractor, &query, &pieces);
            // Whoever does not listen any more has ended.
            let _ = pieces.blocking_send(Piece::End(end));
        });
        if let Err(error) = started {
            let reason = format!("a thread could not be started: {error}");
            let _ = failed.try_send(Piece::End(Err(Trouble::Silent(reason))));
        }
    }

    /// Answers with one object, as a recorder over HTTP does, unless it is given up.
    pub(super) fn look_up(
        &self,
        runtime: &Runtime,
        question: Question,
        query: Query,
        given_up: Arc<AtomicBool>,
    ) -> JoinHandle<Result<Value, Trouble>> {
        let extractor = Arc::clone(&self.extractor);
        runtime.spawn_blocking(move || {
            let control = &mut UntilGivenUp(given_up);
            let silent = |error: &dyn std::fmt::Display| Trouble::Silent(error.to_string());
            let search = |query: &Query| query.search.as_deref().map(str::parse::<Search>).transpose();
            let search = search(&query).map_err(|error| Trouble::Wrong(error.to_string()))?;
            let unsearched = Query { search: None, ..query.clone() };
            let object = match question {
                Question::Estimate => extractor.estimate_with(&query, control).and_then(|estimate| {
                    let completeness = extractor.completeness(&query)?;
                    Ok(serde_json::to_value(BoundedAnswer { estimate, completeness }))
                }),
                Question::Count => extractor.count(&query, control).map(serde_json::to_value),
                Question::Flows(flows) => {
                    let flows = FlowQuery { search: search.or(flows.search), ..flows };
                    extractor.flows(&unsearched, &flows, control).map(serde_json::to_value)
                }
                Question::Summary(summary) => {
                    let summary = SummaryQuery { search: search.or(summary.search), ..summary };
                    extractor.summary(&unsearched, &summary, control).map(serde_json::to_value)
                }
                Question::Status => {
                    return Err(Trouble::Wrong(
                        "the state of a store is asked of the store itself".to_owned(),
                    ));
                }
            };
            object.map_err(trouble)?.map_err(|error| silent(&error))
        })
    }
}

fn answer(extractor: &Extractor, query: &Query, pieces: &Sender<Piece>) -> Result<Value, Trouble> {
    let mut output = BufWriter::with_capacity(PIECE_BYTES, PieceWriter { blocks: Blocks::default(), pieces });
    let mut sink = HeadedSink { sink: PcapngSink::new(&mut output), pieces };
    let answer = extractor.extract(query, &mut sink, &mut WhileHeard(pieces)).map_err(trouble)?;
    drop(sink);
    output.flush().map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(json!({
        "complete": answer.completeness.is_complete(),
        "limit_reached": answer.completeness.limit_reached,
        "hint": answer.hint,
    }))
}
