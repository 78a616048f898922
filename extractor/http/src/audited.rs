//! Queries that are answered in one piece, and written into the audit as they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netrewind_client::RecorderFlows;
use netrewind_extractor::Stream;
use netrewind_extractor::flows::{Conversation, FlowId};
use netrewind_extractor::{Answer, Completeness, ExtractError, Extractor, Query};
use netrewind_store::Timestamp;

use crate::audit::{Ending, Extraction};
use crate::blocking::{ClientControl, run_blocking};
use crate::geoip::SummaryAnswer;
use crate::identity::Identity;
use crate::problem::{Kind, Problem};
use crate::service::{Phase, Service};
use crate::slots::Pool;
use crate::source::Source;

/// The stream of a conversation: it counts as an extraction.
pub const STREAM: &str = "stream";
/// A page of a packet list: it counts as an extraction.
pub const PACKET_LIST: &str = "packet-list";

/// A packet that is taken apart: it counts as an extraction.
pub const DISSECTION: &str = "dissection";

/// Facts about an answer for the audit.
pub trait AuditFacts {
    /// Its completeness; `None` if it does not tell.
    fn completeness(&self) -> Option<&Completeness> {
        None
    }

    /// Packets that it gives away.
    fn given_packets(&self) -> u64 {
        0
    }

    /// Bytes of packets that it gives away.
    fn given_bytes(&self) -> u64 {
        0
    }
}

/// A query that somebody asks.
pub struct AuditedQuery {
    /// Shared service.
    pub service: Arc<Service>,
    /// Identity of the caller.
    pub identity: Identity,
    /// Kind of answer, for the audit.
    pub what: &'static str,
    /// Conversation asked for, if it is one.
    pub flow: Option<FlowId>,
    /// Packets asked for.
    pub query: Query,
}

impl AuditedQuery {
    /// Does the work on a separate thread, once there is a place, for at most this long. It is for one recorder.
    pub async fn answer<T: AuditFacts + Send + 'static>(
        self,
        pool: &Pool,
        time: Option<Duration>,
        work: impl FnOnce(&Extractor, &Query, &mut ClientControl<'_>) -> Result<T, ExtractError> + Send + 'static,
    ) -> Result<T, Problem> {
        let extractor = Arc::clone(self.service.extractor()?);
        let work = move |_: &Source, query: &Query, control: &mut ClientControl<'_>| {
            work(&extractor, query, control)
        };
        self.answer_of_all(pool, time, work).await
    }

    /// Likewise, for work that several recorders can do together.
    pub async fn answer_of_all<T: AuditFacts + Send + 'static>(
        self,
        pool: &Pool,
        time: Option<Duration>,
        work: impl FnOnce(&Source, &Query, &mut ClientControl<'_>) -> Result<T, ExtractError> + Send + 'static,
    ) -> Result<T, Problem> {
        let service = Arc::clone(&self.service);
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let peer = self.identity.share();
        let noted = move |service: &Service, control: &mut ClientControl<'_>| {
            let asked = service.clock.now();
            let answer = work(&service.source, &self.query, control);
            let took = service.clock.now().since(asked.monotonic_ns);
            self.note(&answer, asked.wall, took, flag.load(Ordering::Relaxed));
            answer
        };
        let answered = run_blocking(&service, pool, &peer, noted);
        let Some(time) = time else { return answered.await };
        // The work stops when its waiter goes, and must know the reason by then.
        let mut answered = Box::pin(answered);
        let in_time = tokio::time::timeout(time, &mut answered).await;
        is_over.store(in_time.is_err(), Ordering::Relaxed);
        in_time.unwrap_or_else(|_| {
            let detail =
                format!("the time limit of {} s was reached: allow more, or ask for less", time.as_secs());
            Err(Problem::new(Kind::OutOfTime, detail))
        })
    }

    /// Puts it into the audit.
    fn note<T: AuditFacts>(
        self,
        answer: &Result<T, ExtractError>,
        asked: Timestamp,
        took: Duration,
        is_out_of_time: bool,
    ) {
        let (ending, error) = match answer {
            Ok(answer) => (answer.completeness().map_or(Ending::Complete, Ending::from), None),
            Err(ExtractError::Cancelled) if is_out_of_time => (Ending::OutOfTime, None),
            Err(ExtractError::Cancelled) => match self.service.phase() {
                Phase::Cutting => (Ending::Shutdown, None),
                _ => (Ending::ClientGone, None),
            },
            Err(error) => (Ending::Error, Some(error.to_string())),
        };
        let Self { service, identity: Identity { name: who, peer, .. }, what, flow, query } = self;
        let (packets, bytes) =
            answer.as_ref().map_or((0, 0), |answer| (answer.given_packets(), answer.given_bytes()));
        let seconds = took.as_secs_f64();
        let recorder = service.recorder.clone();
        let asked = Extraction {
            asked,
            who,
            peer,
            recorder,
            what,
            flow,
            query,
            packets,
            bytes,
            ending,
            error,
            seconds,
        };
        let is_extraction = what == STREAM || what == PACKET_LIST;
        if is_extraction {
            service.metrics.extraction(ending, packets, bytes);
        }
        match &service.audit {
            Some(audit) if is_extraction => audit.extraction(&asked),
            Some(audit) => audit.query(&asked),
            None => {}
        }
    }
}

impl AuditFacts for Answer {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.completeness)
    }
}

impl AuditFacts for RecorderFlows {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.answer.completeness)
    }
}

impl AuditFacts for SummaryAnswer {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.summary.completeness)
    }
}

impl AuditFacts for Option<Conversation> {}

impl AuditFacts for Option<Stream> {
    fn given_bytes(&self) -> u64 {
        let chunks = self.iter().flat_map(|stream| &stream.chunks);
        chunks.map(|chunk| chunk.bytes.len() as u64).sum()
    }
}
