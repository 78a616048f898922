//! Arguments of a query: shared by the commands that read packets or flows.

use std::sync::Arc;

use jiff::tz::TimeZone;
use netrewind_catalog_tantivy::TantivyCatalog;
use netrewind_extractor::events::EVENT_WINDOW;
use netrewind_extractor::flows::{Search, SearchError, of_community_id};
use netrewind_extractor::time_text::{self, WrittenRange};
use netrewind_extractor::{ExtractError, HELPERS_MAX, Options, Query, SinkError, ViewMode};
use netrewind_filter::{CompileLimits, FilterError, Workers};

use super::lists::{ListArguments, ReadLists};
use super::tunnels::TunnelArguments;
use crate::broker::{Broker, BrokerRights};
use crate::outcome::Failure;
use crate::{arguments, clock, confine};

/// Selection of packets.
#[derive(Debug, clap::Args)]
pub struct QueryArguments {
    /// Earliest time [default: the oldest packet kept]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// End of the range, exclusive; +5m counts from --from [default: now if --from is relative, such as '2h ago'; else
    /// up to the newest packet]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// The minute before and after this time, such as an alert's, instead of --from and --to
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["from", "to"])]
    around: Option<String>,
    /// Time before and after --around [default: 1m]
    #[arg(long, value_name = "DURATION")]
    window: Option<String>,
    /// Time zone of times without one, and of printed times: UTC, local, or a zone such as Europe/Rome or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    tz: String,
    /// Packets to select, as a pcap-filter(7) expression [default: all]
    #[arg(
        long,
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    filter: String,
    /// Part of a tunnelled packet that the filter is applied to: its innermost packet, the packet as received, or either. Later
    /// fragments come with the first of their packet, but with outer each packet is judged alone
    #[arg(long, value_name = "VIEW", default_value = "inner", value_parser = ["inner", "outer", "any"])]
    view: String,
    /// Filter as if packets had no VLAN tags
    #[arg(long)]
    ignore_vlan: bool,
    /// Only packets from this interface, by the name under which it was recorded, or from this imported file; may be given
    /// several times [default: from every interface]
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    #[command(flatten)]
    lists: ListArguments,
    #[command(flatten)]
    tunnels: TunnelArguments,
    /// Do not use indexes: the same answer, slower
    #[arg(long)]
    no_index: bool,
}

impl QueryArguments {
    /// The zone of times read and printed.
    pub fn zone(&self) -> Result<TimeZone, Failure> {
        arguments::zone(&self.tz)
    }

    /// The query, without limits; `follows` if its answer goes on with packets recorded from now on.
    pub fn query(&self, follows: bool) -> Result<Query, Failure> {
        self.query_in(&WrittenRange {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            around: self.around.as_deref(),
            window: self.window.as_deref(),
            follows,
        })
    }

    /// The query without a range: events have their own.
    pub fn query_of_events(&self) -> Result<Query, Failure> {
        self.query_in(&WrittenRange::default())
    }

    /// Time before and after an event.
    pub fn window(&self) -> &str {
        self.window.as_deref().unwrap_or(EVENT_WINDOW)
    }

    fn query_in(&self, written: &WrittenRange<'_>) -> Result<Query, Failure> {
        let range = time_text::range(written, clock::now(), &self.zone()?)
            .map_err(|error| Failure::usage(format!("--{error}")))?;
        let ReadLists { demands, filter, note } = self.lists.read(&self.filter, &self.view)?;
        Ok(Query {
            from: range.from,
            to: range.to,
            note: [range.note, note].into_iter().flatten().reduce(|one, other| format!("{one}; {other}")),
            filter,
            lists: demands,
            view: self.view.parse::<ViewMode>().map_err(Failure::usage)?,
            ignore_vlan: self.ignore_vlan,
            interfaces: self.interface.clone(),
            tunnels: (&self.tunnels).into(),
            use_index: !self.no_index,
            ..Query::default()
        })
    }
}

/// The search of `--query` and `--community-id` together.
pub fn search(search: Option<&str>, community_id: Option<&str>) -> Result<Option<String>, Failure> {
    if let Some(id) = community_id {
        let joined = of_community_id(id, search);
        return joined.map(Some).map_err(|error| match error {
            SearchError::Value { ref field, .. } if field == "community_id" => {
                Failure::usage(format!("--community-id: {error}"))
            }
            error => Failure::usage(format!("--query: {error}")),
        });
    }
    let checked = search.map(str::parse::<Search>).transpose();
    checked.map_err(|error| Failure::usage(format!("--query: {error}")))?;
    Ok(search.map(str::to_owned))
}

/// Starts this program for filters that are compiled in another process: itself, or by a broker where it is to be confined. None is
/// started for a filter that needs no such process.
pub fn workers(filter: &str) -> Result<Option<Workers>, Failure> {
    if !confine::is_on() {
        return Ok(own_workers());
    }
    let is_needed = netrewind_filter::is_large(filter, &CompileLimits::default());
    let broker = is_needed.then(|| Broker::start(BrokerRights::default())).transpose()?;
    Ok(broker.map(|broker| broker.workers()))
}

/// Children of this process, which run this program.
pub fn own_workers() -> Option<Workers> {
    std::env::current_exe().ok().map(Into::into)
}

/// Options of an extractor, whose large filters are compiled by this program in other processes.
pub fn options(workers: Option<Workers>) -> Options {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Options {
        // The other half is for recording, and for other queries.
        helpers: (cores / 2).clamp(1, HELPERS_MAX),
        compile: CompileLimits { worker: workers, ..CompileLimits::default() },
        catalog: Some(Arc::new(TantivyCatalog)),
        ..Options::default()
    }
}

/// Classifies errors: those that the user can correct are wrong usage, the others are failures.
pub fn failure(error: ExtractError) -> Failure {
    match error {
        ExtractError::Filter(FilterError::Worker { .. }) => Failure::Failed(error.into()),
        ExtractError::Filter(_)
        | ExtractError::UnknownInterface { .. }
        | ExtractError::Search(_)
        | ExtractError::TooManyChosen(_)
        | ExtractError::NotFollowed
        | ExtractError::Sink(SinkError::SeveralLinkTypes(_)) => Failure::Usage(error.into()),
        other => Failure::Failed(other.into()),
    }
}
