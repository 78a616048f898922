//! `netrewind flows`: conversations, hosts, ports and applications.

mod fitted;
mod rows;

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use netrewind_extractor::flows::{
    Conversation, FlowQuery, FlowSort, PageCursor, Search, SummaryQuery, TOP_MAX, write_csv, write_eve,
    write_json_lines, write_zeek,
};
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{Completeness, ExtractError, Extractor, hint_time};
use serde::Serialize;

use super::archived::StoredArguments;
use super::hint;
use super::progress::ProgressDisplay;
use super::query::{self, QueryArguments, failure, options, workers};
use crate::outcome::{Failure, Outcome};
use crate::terminal::Style;
use crate::{signals, terminal};
use fitted::{FittedTable, fit};
use rows::Row;

const EXAMPLES: &str = "\
Examples:
  netrewind flows --store /data/nr --from '1h ago'
  netrewind flows --store /data/nr --filter 'net 10.1.0.0/16 and port 443' --sort duration --limit 50
  netrewind flows --store /data/nr --from 2026-11-22T09:30:00Z --to 2026-11-22T09:35:00Z --top hosts
  netrewind flows --store /data/nr --sort start --limit 100000 --format csv > flows.csv
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

type StandardOutput = io::BufWriter<io::StdoutLock<'static>>;

/// Columns of a terminal that does not say.
const TERMINAL_COLUMNS: usize = 80;

/// Arguments of `netrewind flows`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FlowsArguments {
    #[command(flatten)]
    stored: StoredArguments,
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
    /// Zeek's conn.log (tab-separated with its head)
    #[arg(long, value_name = "FORMAT", default_value = "table",
        value_parser = ["table", "json", "csv", "eve", "zeek"])]
    format: String,
    /// Print JSON lines: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print neither completeness nor progress
    #[arg(long, short)]
    quiet: bool,
}

impl FlowsArguments {
    fn format(&self) -> &str {
        if self.json { "json" } else { &self.format }
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
    if arguments.top != "conversations" && matches!(arguments.format(), "eve" | "zeek") {
        return Err(Failure::usage(
            "--format eve and --format zeek are logs of conversations: leave out --top",
        ));
    }
    let (query, zone) = (arguments.query.query(false)?, arguments.query.zone()?);
    let search = query::search(arguments.search.as_deref(), arguments.community_id.as_deref())?;
    let search = search.as_deref().map(str::parse::<Search>).transpose();
    let search = search.map_err(|error| Failure::usage(format!("--query: {error}")))?;
    let stop = signals::stop_flag()?;
    let workers = workers(&query.filter)?;
    let store = arguments.stored.prepare()?;
    let raised = store.walls().raise();
    if !arguments.quiet {
        raised.say_gaps();
    }
    let extractor = Extractor::new(store.open_one()?, options(workers));
    let mut control = ProgressDisplay::new(stop, arguments.quiet, zone.clone());
    let ended = |control: &ProgressDisplay, error: ExtractError| {
        control.end();
        failure(error)
    };
    if arguments.top == "conversations" {
        let sort = arguments.sort.parse::<FlowSort>().map_err(Failure::usage)?;
        let flows = FlowQuery {
            sort,
            reverse: arguments.reverse,
            limit: arguments.limit,
            after: arguments.after,
            search,
        };
        let begun = Instant::now();
        let answer = extractor.flows(&query, &flows, &mut control).map_err(|error| ended(&control, error))?;
        control.end();
        let is_empty = answer.totals.conversations == 0 && flows.search.is_none() && !arguments.quiet;
        let until = Instant::now() + hint_time(begun.elapsed());
        let hint = is_empty.then(|| extractor.hint(&query, &|| Instant::now() >= until)).flatten();
        match arguments.format() {
            "eve" => log(&answer.flows, arguments, write_eve)?,
            "zeek" => log(&answer.flows, arguments, write_zeek)?,
            _ => _ = print(&answer.flows, arguments, &zone)?,
        }
        let what = ListSummary {
            listed: answer.flows.len() as u64,
            all: Some(answer.totals.conversations),
            approximate: answer.approximate,
        };
        if let Some(next) = answer.next.filter(|_| !arguments.quiet) {
            terminal::say(format_args!("there are more: continue with --after {next}"));
        }
        let outcome = report_flows(arguments, &what, &answer.completeness, &zone);
        hint.iter().map(hint::line).for_each(terminal::say);
        return Ok(outcome);
    }
    let summary = SummaryQuery { top: arguments.limit.min(TOP_MAX), buckets: 1, edges: Some(0), search };
    let answer = extractor.summary(&query, &summary, &mut control).map_err(|error| ended(&control, error))?;
    control.end();
    let listed = match arguments.top.as_str() {
        "hosts" => print(&answer.top.hosts, arguments, &zone)?,
        "ports" => print(&answer.top.ports, arguments, &zone)?,
        _ => print(&answer.top.applications, arguments, &zone)?,
    };
    let told = ListSummary { listed, all: None, approximate: answer.approximate };
    Ok(report_flows(arguments, &told, &answer.completeness, &zone))
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

/// Prints conversations as the log of another tool.
fn log(
    conversations: &[Conversation],
    arguments: &FlowsArguments,
    write: fn(&[Conversation], StandardOutput) -> io::Result<u64>,
) -> Result<(), Failure> {
    match write(conversations, io::BufWriter::new(io::stdout().lock())) {
        // Whoever read the log has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error.into()),
        Ok(left_out) => {
            if left_out > 0 && !arguments.quiet {
                terminal::say(format_args!(
                    "{left_out} conversations are left out: they have no IP addresses"
                ));
            }
            Ok(())
        }
    }
}

/// Prints a list, and returns its length.
fn print<R: Row + Serialize>(
    rows: &[R],
    arguments: &FlowsArguments,
    zone: &TimeZone,
) -> Result<u64, Failure> {
    let output = io::BufWriter::new(io::stdout().lock());
    let printed = match arguments.format() {
        "json" => write_json_lines(rows, output),
        "csv" => write_csv(rows, output),
        _ if io::stdout().is_terminal() => {
            let notes = print_fitted(rows, zone, output)?;
            notes.iter().filter(|_| !arguments.quiet).for_each(terminal::say);
            Ok(())
        }
        _ => print_table(rows, zone, output),
    };
    match printed {
        // Whoever read the list has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(rows.len() as u64)
}

/// Prints a table for a person, and returns what to say about it.
fn print_fitted<R: Row>(rows: &[R], zone: &TimeZone, mut output: impl Write) -> io::Result<Vec<String>> {
    let mut cells: Vec<Vec<String>> = rows.iter().map(|row| row.columns(true, zone)).collect();
    let mut notes = Vec::new();
    if let Some(start) = R::COLUMNS.iter().position(|column| column.name == "START") {
        notes.extend(shorten_times(&mut cells, start));
    }
    let width = Table::new().width().map_or(TERMINAL_COLUMNS, usize::from);
    let FittedTable { lines, left_out } = fit(R::COLUMNS, &cells, width);
    for (number, line) in lines.iter().enumerate() {
        let line = terminal::printable(line);
        match number {
            0 => writeln!(output, "{}", terminal::styled(Style::Bold, &line, io::stdout().is_terminal()))?,
            _ => writeln!(output, "{line}")?,
        }
    }
    output.flush()?;
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        notes.push(format!("no room for {names}: a wider terminal, a pipe, or --format csv shows them"));
    }
    Ok(notes)
}

/// Leaves of times what tells them apart: the time of day to the second and, unless all are of one day, the day. Returns what to say.
fn shorten_times(rows: &mut [Vec<String>], column: usize) -> Option<String> {
    // 2026-11-22T09:31:01.628448290Z
    let part = |row: &Vec<String>, range| row.get(column).and_then(|time| time.get(range)).map(str::to_owned);
    let first = rows.first().and_then(|row| part(row, 0..10))?;
    let is_one_day = rows.iter().all(|row| part(row, 0..10).as_ref() == Some(&first));
    for row in rows.iter_mut() {
        let (day, time) = (part(row, 5..10)?, part(row, 11..19)?);
        if let Some(cell) = row.get_mut(column) {
            *cell = if is_one_day { time } else { format!("{day} {time}") };
        }
    }
    is_one_day.then(|| format!("times are of {first}"))
}

/// Prints a table for a program: every column, times in full.
fn print_table<R: Row>(rows: &[R], zone: &TimeZone, mut output: impl Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(R::COLUMNS.iter().map(|column| column.name));
    for row in rows {
        table.add_row(row.columns(false, zone));
    }
    for (cells, column) in table.column_iter_mut().zip(R::COLUMNS) {
        if column.is_number {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(output, "{}", line.trim_end())?;
    }
    output.flush()
}
