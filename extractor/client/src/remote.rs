//! Recorders that are asked together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use netrewind_extractor::flows::{FlowQuery, FlowSummary, SummaryQuery};
use netrewind_extractor::lists::{EVE_WINDOW, EventList};
use netrewind_extractor::{
    Answer, AnswerLimits, Asked, Completeness, Control, CountSink, DedupWindow, Estimate, Extractor,
    FollowClock, Hint, Overview, Query, RecorderCompleteness, Sink, ViewMode,
};
use netrewind_store::Timestamp;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::connection::{Access, Connection, LOOK_INTERVAL, client};
use crate::error::{RemoteError, none_answered};
use crate::flows::{RecorderFlows, add_summaries, asked_of_each, join_lists};
use crate::merge::{Merge, Questions};
use crate::question::{Question, TROUBLE, read, trouble_in};
use crate::recorder::AskedRecorder;
use crate::stored::StoredRecorder;

/// Recorders that are asked together.
#[derive(Debug)]
pub struct Remote {
    /// Made for the first question.
    runtime: OnceLock<Runtime>,
    recorders: Vec<AskedRecorder>,
}

/// The state of a recorder's store.
#[derive(Clone, Debug)]
pub struct RecorderStatus {
    /// Its host and port.
    pub recorder: String,
    /// The state, or the reason why it did not tell it.
    pub overview: Result<Box<Overview>, String>,
}

/// Bounds of the answers of recorders together.
#[derive(Clone, Debug)]
pub struct RecorderEstimate {
    /// The bounds of those that answered.
    pub bounds: Estimate,
    /// Completeness of each, as known before reading.
    pub completeness: Completeness,
    /// A message for each that did not answer.
    pub troubles: Vec<String>,
}

impl Drop for Remote {
    /// A runtime must not wait for its threads where a task lets go of the last use.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Set once nobody waits for what is asked.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Remote {
    /// Recorders at these addresses, as `https://recorder:8640`. Nothing is asked yet, and no thread started.
    pub fn new(urls: &[String], access: &Access) -> Result<Self, RemoteError> {
        let client = client(access)?;
        let connection =
            |url: &String| Connection::new(url, client.clone(), access).map(AskedRecorder::Distant);
        let recorders = urls.iter().map(connection).collect::<Result<_, _>>()?;
        Ok(Self { runtime: OnceLock::new(), recorders })
    }

    /// Recorders whose stores are read here, by their ids; or the reasons why they cannot be.
    pub fn of_stores(extractors: impl IntoIterator<Item = (String, Result<Arc<Extractor>, String>)>) -> Self {
        let asked = |(name, extractor)| match extractor {
            Ok(extractor) => AskedRecorder::Stored(StoredRecorder::new(name, extractor)),
            Err(trouble) => AskedRecorder::Unreadable { name, trouble },
        };
        Self { runtime: OnceLock::new(), recorders: extractors.into_iter().map(asked).collect() }
    }

    /// TCP ports of the recorders.
    pub fn ports(&self) -> Vec<u16> {
        let port = |recorder: &AskedRecorder| match recorder {
            AskedRecorder::Distant(connection) => Some(connection.port),
            AskedRecorder::Stored(_) | AskedRecorder::Unreadable { .. } => None,
        };
        self.recorders.iter().filter_map(port).collect()
    }

    fn runtime(&self) -> Result<&Runtime, RemoteError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let built = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let built = built.map_err(|error| RemoteError::Failed(error.to_string()))?;
        Ok(self.runtime.get_or_init(|| built))
    }

    /// Gives the packets of all recorders to the sink, in order of time; with a clock, also those that are recorded from
    /// now on. Interfaces are named `recorder/interface` where there are several recorders.
    pub fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
        clock: Option<&dyn FollowClock>,
    ) -> Result<Answer, RemoteError> {
        let asked = self.asked(query);
        let mut fields = fields(&asked);
        fields.insert("format".into(), json!("pcapng"));
        fields.insert("decapsulate".into(), json!(query.decapsulate));
        if query.check {
            // Recorders of earlier versions do not know the parameter.
            fields.insert("check".into(), json!(true));
        }
        if query.secrets && sink.wants().secrets {
            fields.insert("secrets".into(), json!(true));
        }
        fields.insert("follow".into(), json!(clock.is_some()));
        let questions = Questions { asked: &asked, fields: &fields };
        Merge::new(self.runtime()?, &self.recorders, self.dedup_here(query), query, &questions)
            .carry_out(sink, control, clock)
    }

    /// Counts the packets. Duplicates that several recorders have are known only once the packets have been read.
    pub fn count(&self, query: &Query, control: &mut dyn Control) -> Result<Answer, RemoteError> {
        if self.dedup_here(query).is_some() {
            return self.extract(query, &mut CountSink, control, None);
        }
        let mut answer = Answer::default();
        for (name, found) in self.look_up(&Question::Count, query, control)? {
            let count = |member: &str| found.get(member).and_then(Value::as_u64).unwrap_or_default();
            answer.packets += count("packets");
            answer.bytes += count("bytes");
            answer.duplicates_dropped += count("duplicates_dropped");
            let hint = found.get("hint").cloned().map(serde_json::from_value::<Hint>);
            answer.hint = answer.hint.or(hint.and_then(Result::ok));
            let completeness = match trouble_in(&found) {
                Some(trouble) => RecorderCompleteness::lacking(name, trouble),
                None => {
                    let completeness = found.get("completeness").cloned().unwrap_or_default();
                    let completeness: Completeness = read(&name, completeness)?;
                    RecorderCompleteness::of(name, &completeness)
                }
            };
            answer.completeness.recorders.push(completeness);
        }
        answer.hint = answer.hint.filter(|_| answer.packets == 0);
        answer.packets = answer.packets.min(query.limits.packets.unwrap_or(u64::MAX));
        Ok(answer)
    }

    /// Bounds the number of packets.
    pub fn estimate(
        &self,
        query: &Query,
        control: &mut dyn Control,
    ) -> Result<RecorderEstimate, RemoteError> {
        let (mut total, mut troubles) = (Estimate::default(), Vec::new());
        let mut completeness =
            Completeness { asked: Asked { from: query.from, to: query.to }, ..Completeness::default() };
        for (name, found) in self.look_up(&Question::Estimate, query, control)? {
            let number = |member: &str| found.get(member).and_then(Value::as_u64).unwrap_or_default();
            total.add(&Estimate {
                packets_min: number("packets_min"),
                packets_max: number("packets_max"),
                bytes_max: number("bytes_max"),
                segments: number("segments"),
            });
            if let Some(trouble) = trouble_in(&found) {
                troubles.push(format!("{name}: {trouble}"));
                completeness.recorders.push(RecorderCompleteness::lacking(name, trouble));
                continue;
            }
            let told = found.get("completeness").cloned().unwrap_or_default();
            let told: Completeness = read(&name, told)?;
            completeness.recorders.push(RecorderCompleteness::of(name, &told));
        }
        if let Some(limit) = query.limits.packets {
            total.packets_max = total.packets_max.min(limit);
            total.packets_min = total.packets_min.min(limit);
        }
        if self.dedup_here(query).is_some() {
            total.packets_min = total.packets_min.min(1); // the first packet is no duplicate
        }
        Ok(RecorderEstimate { bounds: total, completeness, troubles })
    }

    /// The window of duplicates, if they are removed here: a single recorder does that itself, several see only their own packets.
    fn dedup_here(&self, query: &Query) -> Option<DedupWindow> {
        query.dedup.filter(|_| self.recorders.len() > 1)
    }

    /// The query that each recorder is asked. If duplicates are removed here, recorders must send all of them, and limits are kept
    /// here.
    fn asked(&self, query: &Query) -> Query {
        match self.dedup_here(query) {
            Some(_) => Query { dedup: None, limits: AnswerLimits::default(), ..query.clone() },
            None => query.clone(),
        }
    }

    /// The state of each recorder's store, or the reason why it did not tell it.
    pub fn statuses(&self, control: &mut dyn Control) -> Result<Vec<RecorderStatus>, RemoteError> {
        let found = self.look_up(&Question::Status, &Query::default(), control)?;
        let of = |(recorder, found): (String, Value)| {
            let overview = match trouble_in(&found).map(str::to_owned) {
                Some(trouble) => Err(trouble),
                None => Ok(Box::new(read(&recorder, found)?)),
            };
            Ok(RecorderStatus { recorder, overview })
        };
        found.into_iter().map(of).collect()
    }

    /// Lists conversations; the search is that of the query. A conversation that several recorders have is listed for each.
    pub fn flows(
        &self,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<RecorderFlows, RemoteError> {
        if flows.after.is_some() && self.recorders.len() > 1 {
            return Err(RemoteError::Usage(
                "--after continues the list of one recorder: ask each one alone, or raise --limit".to_owned(),
            ));
        }
        join_lists(self.look_up(&Question::Flows(flows.clone()), query, control)?, flows)
    }

    /// Totals and top lists of hosts, ports and applications, added up. What several recorders have is counted for each.
    pub fn summary(
        &self,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<FlowSummary, RemoteError> {
        let asked = asked_of_each(summary, self.recorders.len());
        add_summaries(self.look_up(&Question::Summary(asked), query, control)?, summary)
    }

    /// Asks all recorders at once; a failure is in the recorder's object as [`TROUBLE`].
    fn look_up(
        &self,
        question: &Question,
        query: &Query,
        control: &mut dyn Control,
    ) -> Result<Vec<(String, Value)>, RemoteError> {
        let (asked, runtime) = (self.asked(query), self.runtime()?);
        let mut fields = match question {
            Question::Status => Map::new(),
            _ => fields(&asked),
        };
        question.add_to(&mut fields);
        let given_up = GivenUp::default();
        let ask =
            |recorder: &AskedRecorder| recorder.look_up(runtime, question, &asked, &fields, &given_up.0);
        let tasks: Vec<_> = self.recorders.iter().map(ask).collect();
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        for (recorder, mut task) in self.recorders.iter().zip(tasks) {
            let done = loop {
                let look = async { tokio::time::timeout(LOOK_INTERVAL, &mut task).await };
                match runtime.block_on(look) {
                    Ok(done) => break done,
                    Err(_) if control.cancelled() => return Err(RemoteError::Cancelled),
                    Err(_) => {}
                }
            };
            let object = match done {
                Ok(Ok(object)) => object,
                Ok(Err(trouble)) => {
                    let object = json!({ TROUBLE: trouble.to_string() });
                    troubles.push((recorder.name().to_owned(), trouble));
                    object
                }
                Err(error) => return Err(RemoteError::Failed(error.to_string())),
            };
            found.push((recorder.name().to_owned(), object));
        }
        none_answered(&troubles, self.recorders.len())?;
        Ok(found)
    }
}

/// The query as parameters of a request.
fn fields(query: &Query) -> Map<String, Value> {
    let view = match query.view {
        ViewMode::Inner => "inner",
        ViewMode::Outer => "outer",
        ViewMode::Any => "any",
    };
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let tunnels = &query.tunnels;
    let events = query.lists.events.as_ref();
    // Events have ranges of their own.
    let has_range = events.is_none();
    let all = json!({
        "from": time(query.from).filter(|_| has_range),
        "to": time(query.to).filter(|_| has_range),
        "eve": events.map(EventList::as_eve),
        "window": events.map(|_| EVE_WINDOW),
        "filter": (!query.filter.is_empty()).then_some(&query.filter),
        "view": view,
        "ignore_vlan": query.ignore_vlan.then_some(true),
        "hosts": query.lists.hosts.clone().map(|list| Vec::<String>::from(list).join("\n")),
        "ports": query.lists.ports.clone().map(|list| Vec::<String>::from(list).join("\n")),
        "vni": tunnels.vni,
        "gre_key": tunnels.gre_key,
        "erspan_session": tunnels.erspan_session,
        "tunnel_peer": tunnels.peer.map(|peer| peer.to_string()),
        "interface": (!query.interfaces.is_empty()).then_some(&query.interfaces),
        "no_index": (!query.use_index).then_some(true),
        "flow": query.flow.map(|id| id.to_string()),
        "query": query.search,
        "dedup": query.dedup.map(|window| format!("{}ns", Duration::from(window).as_nanos())),
        "max_packets": query.limits.packets,
        "max_bytes": query.limits.bytes,
    });
    match all {
        Value::Object(all) => all.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}
