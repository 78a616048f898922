//! `netrewind extcap`: recorded packets as an interface of Wireshark.
//!
//! Wireshark calls every program in its extcap folder with `--extcap-...` flags and no subcommand; [`as_subcommand`] notices
//! that. Source: Wireshark Developer's Guide, "Adding Capture Interfaces And Log Sources Using Extcap", and extcap(4).

mod install;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Parser;
use netrewind_filter::{Compiler, FilterError, NoCompileControl};
use netrewind_store::LinkType;

use super::extract;
use super::query::{options, own_workers};
use crate::outcome::{Failure, Outcome};
use crate::{signals, terminal};

/// The one interface.
const INTERFACE: &str = "netrewind";

const EXAMPLES: &str = "\
Examples:
  netrewind extcap install        # then start Wireshark: it is called netrewind
  tshark -i netrewind -o extcap.netrewind.store:/data/nr -o 'extcap.netrewind.from:5m ago'

The other options are for Wireshark, which passes them itself.";

/// Arguments of `netrewind extcap`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct ExtcapArguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// List the interfaces
    #[arg(long)]
    extcap_interfaces: bool,
    /// Wireshark's version
    #[arg(long, value_name = "VERSION", num_args = 0..=1, default_missing_value = "")]
    extcap_version: Option<String>,
    /// The interface
    #[arg(long, value_name = "NAME")]
    extcap_interface: Option<String>,
    /// List the link types of the interface
    #[arg(long)]
    extcap_dlts: bool,
    /// List the settings
    #[arg(long)]
    extcap_config: bool,
    /// Reload the values of one setting
    #[arg(long, value_name = "OPTION")]
    extcap_reload_option: Option<String>,
    /// Wireshark's capture filter: joined to the other by AND; alone, it is only checked
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    extcap_capture_filter: Option<String>,
    /// Write the packets
    #[arg(long)]
    capture: bool,
    /// The pipe to write them to
    #[arg(long, value_name = "FILE")]
    fifo: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Install the interface in Wireshark
    Install(install::InstallArguments),
}

/// Settings of Wireshark's dialog. An empty text counts as none.
#[derive(Debug, clap::Args)]
struct Settings {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// Recorders that answer over HTTP, separated by spaces
    #[arg(long, value_name = "URLS")]
    url: Option<String>,
    /// The token for them
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token; unlike the token itself, it does not show on the command line
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Certificate authorities that signed their certificates
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// past, live (from now on), or follow (past, and then live)
    #[arg(long, value_name = "MODE", value_parser = ["past", "live", "follow"], default_value = "past")]
    mode: String,
    /// Earliest time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// End of the range, exclusive
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Time zone of times that name none
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    tz: Option<String>,
    /// Packets to capture
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    filter: Option<String>,
    /// Part of a tunnelled packet that the filter is applied to
    #[arg(long, value_name = "VIEW", value_parser = ["inner", "outer", "any"], default_value = "inner")]
    view: String,
    /// Name of the interface on which packets were recorded
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Write the innermost packet without its tunnel
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    decapsulate: bool,
}

/// Settings of the dialog, in Wireshark's syntax.
const CONFIG: &str = "\
arg {number=0}{call=--store}{display=Store}{tooltip=The folder of a store on this machine}{type=string}{group=Recorder}
arg {number=1}{call=--url}{display=Recorder}{tooltip=Instead of a store: addresses of recorders (netrewind serve), separated by spaces}{type=string}{placeholder=https://recorder:8640}{group=Recorder}
arg {number=2}{call=--token}{display=Token}{tooltip=Access token for the recorder. While the capture runs, anyone who can list processes can read it: prefer a token file}{type=password}{group=Recorder}
arg {number=3}{call=--ca-file}{display=Certificate authorities}{tooltip=PEM; empty: those that the system trusts}{type=fileselect}{mustexist=true}{group=Recorder}
arg {number=4}{call=--mode}{display=Packets}{tooltip=Recorded packets, new packets, or both}{type=selector}{group=Packets}
value {arg=4}{value=past}{display=Past: from ... to}{default=true}
value {arg=4}{value=live}{display=Live: from now on}{default=false}
value {arg=4}{value=follow}{display=Both: from ..., and then live}{default=false}
arg {number=5}{call=--from}{display=From}{tooltip=5m ago, 09:30 (today), yesterday 14:00, 2026-11-22 09:30, 2026-11-22T09:30:00Z; empty: the oldest packet kept}{type=string}{placeholder=5m ago}{group=Packets}
arg {number=6}{call=--to}{display=To}{tooltip=End of the range, exclusive; +5m counts from From; empty: up to now}{type=string}{placeholder=now}{group=Packets}
arg {number=7}{call=--filter}{display=Filter}{tooltip=A pcap-filter expression, joined to the capture filter}{type=string}{group=Packets}
arg {number=8}{call=--view}{display=View}{tooltip=Part of a tunnelled packet that the filter is applied to}{type=selector}{group=Tunnels}
value {arg=8}{value=inner}{display=The innermost packet}{default=true}
value {arg=8}{value=outer}{display=The packet as received}{default=false}
value {arg=8}{value=any}{display=Either}{default=false}
arg {number=9}{call=--decapsulate}{display=Decapsulate}{tooltip=Write the innermost packet without its tunnel}{type=boolean}{default=false}{group=Tunnels}
arg {number=10}{call=--token-file}{display=Token file}{tooltip=File that holds the token}{type=fileselect}{mustexist=true}{group=Recorder}
arg {number=11}{call=--interface}{display=Recorded on}{tooltip=The interface on which packets were recorded, or the file that they were imported from; empty: any}{type=string}{group=Packets}
arg {number=12}{call=--tz}{display=Time zone}{tooltip=Time zone of From and To if they name none: Europe/Rome, +02:00, local; empty: UTC}{type=string}{placeholder=UTC}{group=Packets}";

/// The command line, with the subcommand that Wireshark leaves out.
pub fn as_subcommand(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    if first.starts_with("--extcap-") || first == "--capture" {
        arguments.insert(1, "extcap".into());
    }
    arguments
}

/// Answers Wireshark's call.
pub fn run(arguments: &ExtcapArguments) -> Result<Outcome, Failure> {
    if let Some(Action::Install(arguments)) = &arguments.action {
        return install::run(arguments);
    }
    if arguments.extcap_interfaces {
        terminal::print(format_args!(
            "extcap {{version={}}}{{display=Netrewind}}\n\
             interface {{value={INTERFACE}}}{{display=Netrewind: recorded packets}}",
            env!("CARGO_PKG_VERSION")
        ))?;
        return Ok(Outcome::Done);
    }
    match arguments.extcap_interface.as_deref() {
        Some(INTERFACE) => {}
        Some(other) => {
            return Err(Failure::usage(format!("there is no interface {other:?}, only {INTERFACE}")));
        }
        None => return Err(Failure::usage("--extcap-interfaces, --extcap-interface or install: see --help")),
    }
    if arguments.extcap_dlts {
        // What each packet is stands in the pcapng.
        terminal::print("dlt {number=1}{name=EN10MB}{display=As recorded}")?;
    } else if arguments.extcap_config {
        terminal::print(CONFIG)?;
    } else if let Some(option) = &arguments.extcap_reload_option {
        reload(option)?;
    } else if arguments.capture {
        return capture(arguments);
    } else if let Some(filter) = &arguments.extcap_capture_filter {
        // No word says that it is valid.
        if let Err(error) = check(filter) {
            terminal::print(error)?;
        }
    }
    Ok(Outcome::Done)
}

/// Prints the values of an option, as in the configuration.
fn reload(option: &str) -> Result<(), Failure> {
    let call = format!("{{call=--{}}}", option.trim_start_matches('-'));
    let number = |line: &str| Some(line.split_once("{number=")?.1.split_once('}')?.0.to_owned());
    let Some(number) = CONFIG.lines().find(|line| line.contains(&call)).and_then(number) else {
        return Err(Failure::usage(format!("there is no option {option:?}")));
    };
    let value = format!("value {{arg={number}}}");
    for line in CONFIG.lines().filter(|line| line.starts_with(&value)) {
        terminal::print(line)?;
    }
    Ok(())
}

/// Checks a filter: it must be valid for frames or for bare packets.
fn check(filter: &str) -> Result<(), FilterError> {
    if filter.trim().is_empty() {
        return Ok(());
    }
    let compiler = Compiler::new(options(own_workers()).compile);
    let compiled = compiler.program(filter, LinkType::ETHERNET, &NoCompileControl);
    compiled
        .or_else(|error| compiler.program(filter, LinkType::RAW, &NoCompileControl).map_err(|_| error))
        .map(|_| ())
}

#[derive(Debug, clap::Parser)]
struct ExtcapExtraction {
    #[command(flatten)]
    arguments: extract::ExtractArguments,
}

/// Extracts into Wireshark's pipe. Gaps in the answer are stated in the file: Wireshark shows any text on standard error as an
/// error.
fn capture(arguments: &ExtcapArguments) -> Result<Outcome, Failure> {
    let fifo = arguments.fifo.as_ref().ok_or_else(|| Failure::usage("--capture needs --fifo"))?;
    let mut words: Vec<OsString> = ["extract", "--quiet", "--format=pcapng"].map(OsString::from).into();
    words.extend(["--output".into(), fifo.clone().into()]);
    words.extend(settings(&arguments.settings, arguments.extcap_capture_filter.as_deref())?);
    let mut extraction = ExtcapExtraction::try_parse_from(words).map_err(wrong_setting)?.arguments;
    extraction.set_token(given(&arguments.settings.token).map(str::to_owned));
    let stop = signals::stop_flag()?;
    keep_open(fifo);
    match extract::run(&extraction) {
        // Wireshark has what it wanted.
        Err(_) if stop.load(Ordering::Relaxed) => Ok(Outcome::Done),
        Ok(_) => Ok(Outcome::Done),
        Err(failure) => Err(failure),
    }
}

/// Keeps Wireshark's pipe open until the process ends. Once it is closed, Wireshark no longer waits for what standard error says, and
/// a failure would be told as nothing at all.
fn keep_open(fifo: &Path) {
    if let Ok(pipe) = File::options().write(true).open(fifo) {
        let _ = pipe.into_raw_fd();
    }
}

/// Description of a wrong setting, in one line: Wireshark's dialog has neither arguments nor --help.
fn wrong_setting(error: clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Failure::usage(first.strip_prefix("error: ").unwrap_or(first))
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// Converts the settings to arguments of `netrewind extract`.
fn settings(settings: &Settings, capture_filter: Option<&str>) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    let mut add = |name: &str, value: &str| words.push(OsString::from(format!("--{name}={value}")));
    match (given(&settings.store), given(&settings.url)) {
        (Some(store), None) => add("store", store),
        (None, Some(urls)) => urls.split_whitespace().for_each(|url| add("url", url)),
        (Some(_), Some(_)) => return Err(Failure::usage("set either a store or a recorder, not both")),
        (None, None) => {
            return Err(Failure::usage("no store and no recorder is set: see the interface's options"));
        }
    }
    if let (Some(path), Some(_)) = (given(&settings.ca_file), given(&settings.url)) {
        add("ca-file", path);
    }
    if let (Some(path), Some(_)) = (given(&settings.token_file), given(&settings.url)) {
        add("token-file", path);
    }
    let is_live = settings.mode == "live";
    let from = if is_live { Some("now") } else { given(&settings.from) };
    from.into_iter().for_each(|from| add("from", from));
    given(&settings.interface).into_iter().for_each(|interface| add("interface", interface));
    given(&settings.to).into_iter().for_each(|to| add("to", to));
    given(&settings.tz).into_iter().for_each(|tz| add("tz", tz));
    let filters: Vec<_> =
        [given(&settings.filter), capture_filter.map(str::trim).filter(|text| !text.is_empty())]
            .into_iter()
            .flatten()
            .collect();
    match filters[..] {
        [] => {}
        [only] => add("filter", only),
        _ => add("filter", &format!("({})", filters.join(") and ("))),
    }
    add("view", &settings.view);
    if settings.decapsulate {
        words.push("--decapsulate".into());
    }
    if settings.mode != "past" {
        words.push("--follow".into());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wireshark_need_not_name_the_subcommand() {
        let words = |words: &[&str]| as_subcommand(words.iter().map(OsString::from));
        assert_eq!(words(&["netrewind", "--extcap-interfaces"])[1], "extcap");
        assert_eq!(words(&["netrewind", "--capture", "--fifo", "x"])[1], "extcap");
        assert_eq!(words(&["netrewind", "extract", "--capture"])[1], "extract");
    }

    #[test]
    fn filters_are_joined() {
        let parsed = |words: &[&str]| {
            #[derive(clap::Parser)]
            struct Alone {
                #[command(flatten)]
                arguments: ExtcapArguments,
            }
            Alone::try_parse_from(words).expect("arguments").arguments
        };
        let arguments = parsed(&["extcap", "--store", "/x", "--filter", "udp or icmp", "--token", ""]);
        let words = settings(&arguments.settings, Some("port 53")).expect("settings");
        assert_eq!(words, ["--store=/x", "--filter=(udp or icmp) and (port 53)", "--view=inner"]);
        assert!(settings(&parsed(&["extcap"]).settings, None).is_err());
    }
}
