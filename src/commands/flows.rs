//! `netrewind flows`: conversations, hosts, ports and applications.

mod fitted;
mod list_output;
mod rows;

use std::path::PathBuf;
use std::time::Instant;

use jiff::tz::TimeZone;
use netrewind_client::RecorderFlows;
use netrewind_extractor::flows::{FlowQuery, FlowSort, PageCursor, SummaryQuery, TOP_MAX};
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{Completeness, Query};

use self::list_output::{ListForm, ListOutput};
use super::hint;
use super::progress::ProgressDisplay;
use super::query::{self, QueryArguments, workers};
use super::target::{NoAnswer, QueryTarget, TargetArguments};
use crate::outcome::{Failure, Outcome};
use crate::{signals, terminal};

const EXAMPLES: &str = "\
Examples:
  netrewind flows --store /data/nr --from '1h ago'
  netrewind flows --store /data/nr --filter 'net 10.1.0.0/16 and port 443' --sort duration --limit 50
  netrewind flows --store /data/nr --from 2026-11-22T09:30:00Z --to 2026-11-22T09:35:00Z --top hosts
  netrewind flows --store /data/nr --sort start --limit 100000 -o flows.csv.gz
  netrewind flows --url https://nr1:8640 --url https://nr2:8640 --token-file token --from '1h ago'
  netrewind flows --store /data/nr --query 'sni:example.com AND bytes:>1M'
  netrewind flows --store /data/nr --hosts-file indicators.txt --top hosts
  netrewind flows --store /data/nr --sort start --limit 1000 --format zeek > conn.log
  netrewind flows --store /data/nr --format json | jq 'select(.tcp.state == \"reset\")'

A flow is a conversation: all packets between two ends, both ways, through the same tunnels, until it has been silent for
its idle time (TCP 5 minutes, UDP 2, ICMP 1) or a new connection begins. Of packets in tunnels it is the innermost one.
--query looks for what is known of conversations: host, port, protocol, bytes, packets, duration, rtt, retransmissions, state,
vlan, vni, application, sni, http_host, ua, dns, ja4, alpn, ssh, community_id; a wrong one lists all of them.
Packets and bytes are exactly those of the range that the filter accepts. Bytes are those on the wire.
Whether the answer is complete stands on standard error and in the exit status: 0 complete, 1 incomplete.";

/// Arguments of `netrewind flows`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FlowsArguments {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    query: QueryArguments,
    /// Only conversations that this search finds, as sni:example.com AND bytes:>1000000
    #[arg(long = "query", value_name = "SEARCH")]
    search: Option<String>,
    /// Only the conversations with this Community ID, as other tools write it
    #[arg(long, value_name = "ID")]
    community_id: Option<String>,
    /// Kind of list
    #[arg(long, value_name = "WHAT", default_value = "conversations",
        value_parser = ["conversations", "hosts", "ports", "apps"])]
    top: String,
    /// Order of conversations; other lists are sorted by bytes
    #[arg(long, value_name = "ORDER", default_value = "bytes",
        value_parser = ["bytes", "packets", "start", "duration"])]
    sort: String,
    /// The opposite order of conversations
    #[arg(long)]
    reverse: bool,
    /// Number of entries to list, at most
    #[arg(long, value_name = "N", default_value = "20", value_parser = crate::arguments::length)]
    limit: usize,
    /// List the conversations after a page, by the cursor that it printed on standard error
    #[arg(long, value_name = "CURSOR")]
    after: Option<PageCursor>,
    /// A table, JSON lines, CSV with a head, or of conversations the log of another tool: Suricata's EVE (flow events as JSON lines),
    /// Zeek's conn.log (tab-separated with its head) [default: by the file's name, else a table]
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json", "csv", "eve", "zeek"])]
    format: Option<String>,
    /// Print JSON lines: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print neither completeness nor progress
    #[arg(long, short)]
    quiet: bool,
    /// The file to write, compressed if its name ends in .gz or .zst; - for standard output. A new file can be read by its owner
    /// alone (0600) [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl FlowsArguments {
    fn form(&self, zone: &TimeZone) -> ListForm {
        let format = if self.json { Some("json") } else { self.format.as_deref() };
        ListForm { format: format.map(str::to_owned), is_quiet: self.quiet, zone: zone.clone() }
    }
}

/// Runs the command.
pub fn run(arguments: &FlowsArguments) -> Result<Outcome, Failure> {
    if arguments.top != "conversations"
        && (arguments.sort != "bytes" || arguments.reverse || arguments.after.is_some())
    {
        return Err(Failure::usage(
            "--sort, --reverse and --after apply to conversations only: hosts, ports and apps are sorted by bytes",
        ));
    }
    if arguments.top != "conversations" && matches!(arguments.format.as_deref(), Some("eve" | "zeek")) {
        return Err(Failure::usage(
            "--format eve and --format zeek are logs of conversations: leave out --top",
        ));
    }
    let (query, zone) = (arguments.query.query(false)?, arguments.query.zone()?);
    let search = query::search(arguments.search.as_deref(), arguments.community_id.as_deref())?;
    let query = Query { search, ..query };
    let stop = signals::stop_flag()?;
    let workers = match arguments.target.url[..] {
        [] => workers(&query.filter)?,
        _ => None, // recorders compile it
    };
    let target = arguments.target.open(workers)?;
    let output = ListOutput::open(arguments.output.as_deref(), arguments.form(&zone))?;
    let walls = output.folder().iter().fold(target.walls(), |walls, folder| walls.renaming_in(folder));
    let raised = walls.raise();
    if !arguments.quiet {
        raised.say_gaps();
    }
    let mut control = ProgressDisplay::new(stop, arguments.quiet, zone.clone());
    match arguments.top.as_str() {
        "conversations" => Ok(list(&target, &query, arguments, output, &mut control)?),
        _ => Ok(top(&target, &query, arguments, output, &mut control)?),
    }
}

/// Lists conversations.
fn list(
    target: &QueryTarget,
    query: &Query,
    arguments: &FlowsArguments,
    output: ListOutput,
    control: &mut ProgressDisplay,
) -> Result<Outcome, NoAnswer> {
    let sort =
        arguments.sort.parse::<FlowSort>().map_err(|error| NoAnswer::Because(Failure::usage(error)))?;
    let flows = FlowQuery {
        sort,
        reverse: arguments.reverse,
        limit: arguments.limit,
        after: arguments.after,
        search: None,
    };
    let begun = Instant::now();
    let answer = target.flows(query, &flows, control);
    control.end();
    let (output, RecorderFlows { answer, recorders, has_more }) = output.unless_failed(answer)?;
    let is_empty = answer.totals.conversations == 0 && query.search.is_none() && !arguments.quiet;
    let hint = || answer.hint.clone().or_else(|| target.hint(query, begun.elapsed()));
    let hint = is_empty.then(hint).flatten();
    output.print_conversations(&answer.flows, &recorders).map_err(NoAnswer::Because)?;
    let told = ListSummary {
        listed: answer.flows.len() as u64,
        all: Some(answer.totals.conversations),
        approximate: answer.approximate,
    };
    match answer.next {
        _ if arguments.quiet => {}
        Some(next) => terminal::say(format_args!("there are more: continue with --after {next}")),
        None if has_more => terminal::say("there are more: raise --limit, or ask each recorder alone"),
        None => {}
    }
    let outcome = report_flows(arguments, &told, &answer.completeness, &output_zone(arguments)?);
    hint.iter().map(hint::line).for_each(terminal::say);
    Ok(outcome)
}

/// Lists hosts, ports or applications.
fn top(
    target: &QueryTarget,
    query: &Query,
    arguments: &FlowsArguments,
    output: ListOutput,
    control: &mut ProgressDisplay,
) -> Result<Outcome, NoAnswer> {
    let summary =
        SummaryQuery { top: arguments.limit.min(TOP_MAX), buckets: 1, edges: Some(0), search: None };
    let answer = target.summary(query, &summary, control);
    control.end();
    let (output, answer) = output.unless_failed(answer)?;
    let listed = match arguments.top.as_str() {
        "hosts" => output.print(&answer.top.hosts, &[]),
        "ports" => output.print(&answer.top.ports, &[]),
        _ => output.print(&answer.top.applications, &[]),
    };
    let listed = listed.map_err(NoAnswer::Because)?;
    let told = ListSummary { listed, all: None, approximate: answer.approximate };
    Ok(report_flows(arguments, &told, &answer.completeness, &output_zone(arguments)?))
}

fn output_zone(arguments: &FlowsArguments) -> Result<TimeZone, NoAnswer> {
    arguments.query.zone().map_err(NoAnswer::Because)
}

/// Summary of a list.
struct ListSummary {
    listed: u64,
    all: Option<u64>,
    approximate: bool,
}

fn report_flows(
    arguments: &FlowsArguments,
    told: &ListSummary,
    completeness: &Completeness,
    zone: &TimeZone,
) -> Outcome {
    if !arguments.quiet {
        if let Some(all) = told.all {
            terminal::say(format_args!("{} of {all} conversations", told.listed));
        }
        if told.approximate {
            terminal::say(
                "approximate: there were more hosts or open conversations than fit in memory, or catalog records that the filter cannot be checked against",
            );
        }
        completeness.lines().iter().for_each(|line| terminal::say_completeness(&in_zone(line, zone)));
    }
    if completeness.is_sound() { Outcome::Done } else { Outcome::Incomplete }
}
