//! Arguments for lists of addresses and ports, and for filters in files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use netrewind_extractor::lists::{AddressList, LIST_BYTES_MAX, LeftOut, ListDemands, ListError, PortList};

use crate::outcome::Failure;

/// Lists that packets have to be in, and a filter from a file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lists (joined to the filter by AND; - for standard input)")]
pub struct ListArguments {
    /// Packets from or to an address in this file: addresses, networks, ranges, !exceptions, one a line, or JSON of MISP. Of
    /// a tunnelled packet the innermost one counts, or what --view says; VLAN tags do not matter
    #[arg(long, value_name = "FILE")]
    hosts_file: Option<PathBuf>,
    /// Packets from or to a port in this file: ports, ranges, !exceptions
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
    /// A pcap-filter(7) expression in this file, as tcpdump -F reads it; # begins a comment
    #[arg(long, value_name = "FILE")]
    filter_file: Option<PathBuf>,
}

/// Contents of the files.
pub struct ReadLists {
    /// The lists.
    pub demands: ListDemands,
    /// The filter with the file's, joined.
    pub filter: String,
    /// Remark on what the lists have besides, if anything.
    pub note: Option<String>,
}

impl ListArguments {
    /// Reads the files; `filter` is the one of the command line.
    pub fn read(&self, filter: &str, view: &str) -> Result<ReadLists, Failure> {
        let mut notes = Vec::new();
        let mut list = |name: &str, path: &Path, left_out: LeftOut| {
            let text = left_out.to_string();
            let text = text.trim_start_matches([' ', '(']).trim_end_matches(')');
            if !text.is_empty() {
                notes.push(format!("{name} {}: {text}", path.display()));
            }
        };
        let hosts = self.hosts_file.as_deref().map(|path| parsed("--hosts-file", path, AddressList::parse));
        let ports = self.ports_file.as_deref().map(|path| parsed("--ports-file", path, PortList::parse));
        let (hosts, ports) = (hosts.transpose()?, ports.transpose()?);
        if ports.is_some() && view != "inner" {
            return Err(Failure::usage(format!(
                "--ports-file looks at the ports of the innermost packet: leave out --view {view}"
            )));
        }
        let hosts = hosts.map(|(hosts, left_out)| {
            list("--hosts-file", self.hosts_file.as_deref().unwrap_or(Path::new("-")), left_out);
            hosts
        });
        let ports = ports.map(|(ports, left_out)| {
            list("--ports-file", self.ports_file.as_deref().unwrap_or(Path::new("-")), left_out);
            ports
        });
        let filter = match &self.filter_file {
            None => filter.to_owned(),
            Some(path) => {
                let text = text_of("--filter-file", path)?;
                let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
                let of_file = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
                match (filter.trim().is_empty(), of_file.is_empty()) {
                    (_, true) => {
                        let name = path.display();
                        return Err(Failure::usage(format!("--filter-file {name}: it has no expression")));
                    }
                    (true, false) => of_file,
                    (false, false) => format!("({filter}) and ({of_file})"),
                }
            }
        };
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(ReadLists { demands: ListDemands { hosts, ports, ..ListDemands::default() }, filter, note })
    }
}

fn parsed<L>(
    name: &str,
    path: &Path,
    parse: fn(&str) -> Result<(L, LeftOut), ListError>,
) -> Result<(L, LeftOut), Failure> {
    let text = text_of(name, path)?;
    parse(&text).map_err(|error| Failure::usage(format!("{name} {}: {error}", path.display())))
}

fn text_of(name: &str, path: &Path) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{name} {}: {error}", path.display()));
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(LIST_BYTES_MAX + 1).read_to_string(&mut text),
        false => File::open(path)
            .map_err(|error| wrong(&error))?
            .take(LIST_BYTES_MAX + 1)
            .read_to_string(&mut text),
    };
    match read {
        Err(error) => Err(wrong(&error)),
        Ok(_) if text.len() as u64 > LIST_BYTES_MAX => {
            let most = crate::terminal::bytes(LIST_BYTES_MAX);
            Err(wrong(&format!("it has more than {most}: divide the list")))
        }
        Ok(_) => Ok(text),
    }
}
