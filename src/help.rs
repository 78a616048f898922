//! Help: options under headings, a short form for `-h`, and examples that can be pasted.

use clap::{Arg, Command};

/// Headings of options, in the order of their first option, and the options below each.
const HEADINGS: [(&str, &[&str]); 10] = [
    (
        "Store and settings",
        &[
            "config",
            "store",
            "archive",
            "recorder",
            "archive_cache",
            "archive_cache_bytes",
            "url",
            "token_file",
            "ca_file",
            "group",
            "tunnel_port",
        ],
    ),
    (
        "Sources",
        &[
            "pcap_over_ip",
            "stdin",
            "replay",
            "replay_speed",
            "replay_now",
            "lanes",
            "snaplen",
            "capture_filter",
            "ring",
            "no_promiscuous",
            "hardware_timestamps",
            "broker",
        ],
    ),
    (
        "Space and age",
        &[
            "segment_bytes",
            "segment_age",
            "budget",
            "hold_budget",
            "max_age",
            "catalog_budget",
            "catalog_max_age",
            "compress_after",
        ],
    ),
    ("Exports", &["export_flows", "ipfix", "ipfix_domain", "archive_max_age", "archive_rate"]),
    (
        "Answering over HTTP",
        &[
            "listen",
            "geoip",
            "answer_memory",
            "log",
            "mcp",
            "sharkd",
            "sign_manifests",
            "tls_cert",
            "tls_key",
            "tokens",
            "allow_origin",
            "audit",
            "no_audit",
        ],
    ),
    (
        "Users whom others sign in",
        &[
            "trusted_proxy",
            "user_header",
            "groups_header",
            "oidc_issuer",
            "oidc_client_id",
            "oidc_client_secret_file",
            "oidc_public_url",
            "oidc_scopes",
            "oidc_user_claim",
            "oidc_groups_claim",
            "oidc_audience",
            "oidc_ca_file",
        ],
    ),
    ("Range of time", &["from", "to", "around", "window", "tz"]),
    (
        "Selection",
        &[
            "filter",
            "filter_file",
            "hosts_file",
            "ports_file",
            "view",
            "ignore_vlan",
            "search",
            "community_id",
            "flow",
            "eve",
            "zeek",
            "dedup",
            "check",
            "no_index",
        ],
    ),
    (
        "Tunnels (joined to the filter by AND; numbers as 42 or 0x2a)",
        &["vni", "gre_key", "erspan_session", "tunnel_peer"],
    ),
    (
        "Output",
        &[
            "top",
            "sort",
            "limit",
            "after",
            "format",
            "decapsulate",
            "each",
            "max_packets",
            "max_bytes",
            "count",
            "estimate",
            "follow",
            "manifest",
            "sign",
            "json",
            "quiet",
            "output",
            "hits",
            "keylog",
            "no_secrets",
        ],
    ),
];
/// Options that `-h` leaves to `--help`.
const RARE: [&str; 55] = [
    "recorder",
    "archive_cache",
    "archive_cache_bytes",
    "ports_file",
    "filter_file",
    "hits",
    "keylog",
    "no_secrets",
    "zeek",
    "each",
    "no_confine",
    "ca_file",
    "group",
    "tunnel_port",
    "replay_speed",
    "replay_now",
    "ring",
    "no_promiscuous",
    "hardware_timestamps",
    "broker",
    "segment_bytes",
    "segment_age",
    "hold_budget",
    "catalog_budget",
    "catalog_max_age",
    "ipfix_domain",
    "geoip",
    "answer_memory",
    "log",
    "mcp",
    "sharkd",
    "sign_manifests",
    "trusted_proxy",
    "user_header",
    "groups_header",
    "oidc_client_id",
    "oidc_client_secret_file",
    "oidc_public_url",
    "oidc_scopes",
    "oidc_user_claim",
    "oidc_groups_claim",
    "oidc_audience",
    "oidc_ca_file",
    "allow_origin",
    "audit",
    "no_audit",
    "ignore_vlan",
    "check",
    "no_index",
    "gre_key",
    "erspan_session",
    "tunnel_peer",
    "estimate",
    "sign",
    "accept_damage",
];
/// Examples that `-h` shows.
const EXAMPLES_SHORT: usize = 3;
/// Columns of a line of examples: it fits a terminal that has 80, and is not broken where pasting would stop.
const EXAMPLE_COLUMNS: usize = 80;

/// Columns around what a continued line holds: its indentation, and the backslash.
const CONTINUED_COLUMNS: usize = 8;

/// The command line with its help in order.
pub fn arranged(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let examples = command.get_after_help().map(|text| pasteable(&text.to_string()));
    let command = command.mut_args(|flag| arranged_flag(flag, &name)).mut_subcommands(arranged);
    match examples {
        Some(text) => command.after_help(shortened(&text)).after_long_help(text),
        None => command,
    }
}

fn arranged_flag(flag: Arg, command: &str) -> Arg {
    let id = flag.get_id().as_str().to_owned();
    // Of two meanings: what is recorded, or was.
    let interface = if ["record", "run"].contains(&command) { "Sources" } else { "Selection" };
    let heading = match id.as_str() {
        "interface" => Some(interface),
        // Of what is recorded, or of what is written.
        "snaplen" if command == "extract" => Some("Output"),
        // Of a compressed segment, an age; of a token, its own.
        "after" if command == "compress" => None,
        _ if ["extcap", "add"].contains(&command) && flag.get_help_heading().is_none() => None,
        id => HEADINGS.iter().find(|(_, ids)| ids.contains(&id)).map(|(heading, _)| *heading),
    };
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let short = first_clause(&help);
    let flag = if flag.is_positional() { flag } else { flag.help_heading(heading) };
    let is_rare = RARE.contains(&id.as_str());
    let flag = flag.hide_short_help(is_rare);
    // Manual pages have no short text of what is left out of short help.
    if short == help && !is_rare { flag } else { flag.help(short).long_help(help) }
}

/// The beginning of a text up to the first semicolon or full stop outside of brackets, with its default.
fn first_clause(text: &str) -> String {
    let (said, default) = match text.rfind("[default: ") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut depth = 0;
    let end = said.char_indices().find(|&(at, next)| {
        match next {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            _ => {}
        }
        depth == 0 && [';', '.', ':'].contains(&next) && said[at + 1..].starts_with(' ')
    });
    let said = said.get(..end.map_or(said.len(), |(at, _)| at)).unwrap_or(said).trim_end();
    if default.is_empty() { said.to_owned() } else { format!("{said} {default}") }
}

/// Examples with long lines continued by a backslash, where a shell goes on reading; paragraphs as one line each, to be broken as wide
/// as the terminal is.
fn pasteable(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with("  ") && !line.ends_with(':');
        match lines.last_mut() {
            _ if line.starts_with("  ") && line.len() > EXAMPLE_COLUMNS => lines.push(continued(line)),
            Some(before) if is_prose(before) && is_prose(line) => *before = format!("{before} {line}"),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// A line of shell, broken at blanks outside of quotes, and not between an option and its value.
fn continued(line: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let (mut current, mut is_value) = (String::from(" "), false);
    let words = shell_words(line.trim_start());
    for (number, word) in words.iter().enumerate() {
        let is_option = |word: &str| word.starts_with('-') && word != "-";
        // Its value follows, unless another option or program does, or both together are too long for a line.
        let next = words.get(number + 1).filter(|next| is_option(word) && !is_option(next) && **next != "|");
        let together = word.len() + next.map_or(0, |next| next.len() + 1);
        let has_value = next.is_some() && together + CONTINUED_COLUMNS <= EXAMPLE_COLUMNS;
        let needed = if has_value { together } else { word.len() };
        if !is_value && current.len() + needed + 3 > EXAMPLE_COLUMNS && current.trim() != "" {
            lines.push(current + " \\");
            current = String::from("     ");
        }
        current = current + " " + word;
        is_value = has_value;
    }
    lines.push(current);
    lines.join("\n")
}

/// The words of a line of shell, as they are written.
fn shell_words(line: &str) -> Vec<&str> {
    let (mut words, mut begin, mut quote) = (Vec::new(), 0, None);
    for (at, next) in line.char_indices() {
        match (quote, next) {
            (None, '\'' | '"') => quote = Some(next),
            (Some(open), next) if open == next => quote = None,
            (None, ' ') => {
                words.push(&line[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    words.push(&line[begin..]);
    words
}

/// The first few examples, and the way to the others.
fn shortened(text: &str) -> String {
    let mut shown = Vec::new();
    let mut examples = 0;
    for line in text.lines() {
        let is_example = line.starts_with("  ") && !line.starts_with("   ");
        examples += usize::from(is_example);
        if examples > EXAMPLES_SHORT || line.is_empty() {
            break;
        }
        shown.push(line);
    }
    format!("{}\n\n--help shows every option, and more examples.", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_keeps_the_default() {
        for (text, short) in [
            ("Interface to record; it is waited for", "Interface to record"),
            (
                "Bytes kept of each packet; 0 keeps all [default: all]",
                "Bytes kept of each packet [default: all]",
            ),
            ("pcap (one link type; old) or pcapng. More", "pcap (one link type; old) or pcapng"),
            ("Address as 127.0.0.1:8640", "Address as 127.0.0.1:8640"),
            ("Rows (a; b)", "Rows (a; b)"),
        ] {
            assert_eq!(first_clause(text), short);
        }
    }

    #[test]
    fn a_long_example_goes_on_behind_a_backslash() {
        let long = format!(
            "  netrewind extract --filter '{}' -o x.pcap | wireshark -k -i -",
            "host 1 and ".repeat(5)
        );
        let text = pasteable(&long);
        assert!(text.lines().all(|line| line.len() <= EXAMPLE_COLUMNS), "{text}");
        let joined = text.replace(" \\\n     ", "");
        assert_eq!(joined, long);
    }
}
