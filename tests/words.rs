//! What is said of a question that is wrong, and how times can be written: the same words wherever it is asked.

use std::net::TcpListener;
use std::process::Output;

use crate::documents::{self, Document};
use crate::support::packets::{Packet, write_pcap};
use crate::support::service::Service;
use crate::support::{done, netrewind, run};

/// 2026-10-25 02:00 in Rome, for the first time: clocks go back an hour later.
const START: u32 = 1_792_886_400;

/// A store of a packet every half hour around the change of clocks, and its folder.
fn store() -> (tempfile::TempDir, String) {
    let packets: Vec<Packet> = (0..6)
        .map(|i| Packet { seconds: START + 1800 * i, nanoseconds: 0, len: 60, bytes: vec![0; 60] })
        .collect();
    stored("capture.pcap", &packets)
}

fn stored(name: &str, packets: &[Packet]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, store) = (folder.path().join(name), folder.path().join("store").display().to_string());
    std::fs::write(&file, write_pcap(1, packets)).expect("written");
    done(["import", "--store", &store, &file.display().to_string()]);
    (folder, store)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn count(store: &str, arguments: &[&str]) -> Output {
    run(["extract", "--store", store, "--count"].iter().chain(arguments))
}

/// How many packets there are, where the answer is complete.
fn packets(store: &str, arguments: &[&str]) -> String {
    let output = count(store, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_range_in_which_nothing_can_be_is_refused_in_the_same_words_everywhere() {
    let (folder, store) = store();
    let service = Service::of(&store);
    for (from, to, words) in [
        (
            "2026-10-26",
            "2026-10-25",
            "is earlier than its beginning, 2026-10-26T00:00:00.000000000Z: are they swapped?",
        ),
        ("2026-10-25", "2026-10-25", "would begin and end at 2026-10-25T00:00:00.000000000Z"),
        ("2107-01-01", "9999-12-31", "times end at 2106-02-07T06:28:15.999999999Z"),
        ("tomorrowish", "now", "yesterday 14:00"),
    ] {
        let fifo = folder.path().join("fifo.pcapng").display().to_string();
        let url = format!("http://{}", service.address);
        let asked = ["--from", from, "--to", to];
        let of_extract = ["extract", "--store", &store, "--count"];
        let of_remote = ["extract", "--url", &url, "--count"];
        let of_flows = ["flows", "--store", &store];
        let of_wireshark =
            ["extcap", "--extcap-interface", "netrewind", "--capture", "--fifo", &fifo, "--store", &store];
        for command in [&of_extract[..], &of_remote, &of_flows, &of_wireshark] {
            let output = run(command.iter().chain(&asked));
            assert_eq!(output.status.code(), Some(2), "{command:?} {asked:?}: {}", said(&output));
            assert!(said(&output).contains(words), "{command:?} {asked:?}: {}", said(&output));
        }
        for path in ["packets", "packets/count", "packets/estimate", "flows", "summary"] {
            let answer = service.get(&format!("/api/v1/{path}?from={from}&to={to}"));
            let problem = answer.json();
            assert_eq!(
                (answer.status, problem["type"].as_str()),
                (400, Some("/problems/bad-time")),
                "{problem}"
            );
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{problem}");
        }
    }
}

#[test]
fn an_hour_that_comes_twice_is_told_and_both_can_be_had() {
    let (_folder, store) = store();
    let rome = ["--tz", "Europe/Rome"];
    let output =
        count(&store, &[&rome[..], &["--from", "2026-10-25 02:15", "--to", "2026-10-25 02:45"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("comes twice in Europe/Rome"), "{}", said(&output));
    for (from, to) in [
        ("2026-10-25 02:15+02:00", "2026-10-25 02:45+02:00"),
        ("2026-10-25 02:15+01:00", "2026-10-25 02:45+01:00"),
    ] {
        assert_eq!(packets(&store, &[&rome[..], &["--from", from, "--to", to]].concat()), "1");
    }
    assert_eq!(packets(&store, &[&rome[..], &["--from", "2026-10-25 01:00", "--to", "+3h"]].concat()), "4");
    let output = count(&store, &[&rome[..], &["--from", "2026-03-29 02:30"]].concat());
    assert!(output.status.code() == Some(2) && said(&output).contains("does not exist"), "{}", said(&output));
}

#[test]
fn times_are_told_in_the_zone_that_was_asked_in() {
    let (_folder, store) = store();
    for (zone, first) in [
        ("UTC", "2026-10-25T00:00:00.000000000Z"),
        ("Europe/Rome", "2026-10-25T02:00:00.000000000+02:00"),
        ("-05:00", "2026-10-24T19:00:00.000000000-05:00"),
    ] {
        let output = count(&store, &["--tz", zone]);
        assert!(said(&output).contains(&format!("complete: {first} to ")), "{}", said(&output));
        let flows = run(["flows", "--store", &store, "--tz", zone]);
        assert!(String::from_utf8_lossy(&flows.stdout).contains(first), "{}", said(&flows));
        let status = run(["status", "--store", &store, "--tz", zone]);
        assert!(String::from_utf8_lossy(&status.stdout).contains(first), "{}", said(&status));
        let json = run(["status", "--store", &store, "--tz", zone, "--json"]);
        assert!(String::from_utf8_lossy(&json.stdout).contains("2026-10-25T00:00:00.000000000Z"));
    }
}

#[test]
fn ends_far_away_are_none_and_a_range_to_come_is_told() {
    let (_folder, store) = store();
    for (from, to) in
        [("1969-12-31", "9999-12-31"), ("1792886400000", "2555-01-01"), ("0001-01-01", "+9000y")]
    {
        if from.starts_with("0001") {
            let output = count(&store, &["--from", from, "--to", to]);
            assert!(said(&output).contains("give a from"), "{}", said(&output));
            continue;
        }
        assert_eq!(packets(&store, &["--from", from, "--to", to]), "6");
    }
    let output = count(&store, &["--from", "2100-01-01"]);
    assert!(said(&output).contains("lies in the future"), "{}", said(&output));
    let service = Service::of(&store);
    let answer = service.get("/api/v1/packets/count?from=2100-01-01").json();
    assert!(answer["completeness"]["notes"].to_string().contains("lies in the future"), "{answer}");
}

#[test]
fn remedies_of_searches_are_searches() {
    let (_folder, store) = store();
    for (filter, search) in [
        ("http", "app:http"),
        ("dns", "app:dns"),
        ("dns.qry.name == \"x\"", "dns:NAME"),
        ("tls.handshake.extensions_server_name contains \"x\"", "sni:NAME"),
        ("tls.handshake.ja4 contains \"x\"", "ja4:VALUE"),
        ("http.host contains \"x\"", "http_host:NAME"),
        ("http.user_agent contains \"x\"", "ua:TEXT"),
        ("tcp.analysis.retransmission", "retransmissions:>0"),
        ("tcp.analysis.ack_rtt", "rtt:>100ms"),
    ] {
        let output = count(&store, &["--filter", filter]);
        assert!(said(&output).contains(&format!("--query {search}")), "{}", said(&output));
        let found = run(["flows", "--store", &store, "--query", search]);
        assert!(found.status.success(), "{search}: {}", said(&found));
    }
    for (filter, flag) in [("vxlan 5", ["--vni", "5"]), ("gre 7", ["--gre-key", "7"])] {
        let output = count(&store, &["--filter", filter]);
        assert!(said(&output).contains(&flag.join(" ")), "{}", said(&output));
        assert!(count(&store, &flag).status.success());
    }
}

/// Words of parsers and of the libraries behind them.
const INTERNALS: [&str; 22] = [
    "parse",
    "invalid digit",
    "expected value",
    "ParseIntError",
    "serde",
    "deserial",
    "TOML",
    "jiff",
    "trailing characters",
    "unexpected end of",
    "invalid type",
    "missing field",
    "unknown variant",
    "IoError",
    "Os {",
    "Custom {",
    "Err(",
    "Some(",
    "os error 22",
    "syntax:",
    "hyper",
    "client error",
];

fn without_internals(said: &str, what: &str) {
    for word in INTERNALS {
        assert!(!said.contains(word), "{what} tells of {word:?}: {said}");
    }
}

#[test]
fn wrong_values_of_every_flag_are_told_in_words() {
    let (folder, store) = store();
    let extract = ["extract", "--store", &store, "--count"];
    let record = ["record", "--store", &store, "--interface", "lo"];
    let serve = ["serve", "--store", &store];
    let flows = ["flows", "--store", &store];
    let wrong: &[(&[&str], &str, &[&str])] = &[
        (
            &extract,
            "--from",
            &["x", "25:00", "2026-13-01", "1795339861.1234567891", "-5", "5m", "20261122", ""],
        ),
        (&extract, "--to", &["x", "yesterday 99:00", "99999999999999999999", "+x", "next week"]),
        (&extract, "--tz", &["Mars", "+99:00", "", "CEST", "../../etc/passwd"]),
        (&extract, "--view", &["both", ""]),
        (&extract, "--vni", &["x", "-1", "16777216", ""]),
        (&extract, "--gre-key", &["x", "0x1ffffffff"]),
        (&extract, "--erspan-session", &["1024"]),
        (&extract, "--tunnel-peer", &["x", "10.0.0.1/24", "localhost", ""]),
        (&extract, "--dedup", &["x", "-5ms", "1h", ""]),
        (&extract, "--max-packets", &["x", "-1", "1.5", "99999999999999999999", ""]),
        (&extract, "--max-bytes", &["x", "-1", "10 bananas", ""]),
        (&extract, "--format", &["pdf"]),
        (&flows, "--limit", &["x", "-1", "1.5"]),
        (&flows, "--after", &["x", ""]),
        (&flows, "--sort", &["x"]),
        (&flows, "--top", &["x"]),
        (&flows, "--query", &["bytes:x", "port:", "nofield:1", "a AND", "(", "host:999.1.1.1", "sni:x*"]),
        (&record, "--lanes", &["x", "0", "65", "-1"]),
        (&record, "--snaplen", &["x", "-1", "262145"]),
        (&record, "--ring", &["x"]),
        (&record, "--budget", &["x", "-1"]),
        (&record, "--max-age", &["x", "-1d", "7"]),
        (&record, "--segment-age", &["x"]),
        (&record, "--segment-bytes", &["x"]),
        (&record, "--pcap-over-ip", &["x", "listen:x", "connect:probe:0", "connect:probe:99999"]),
        (&record, "--capture-filter", &["prot 80", "(", "host example.org"]),
        (&record, "--archive", &["x", "", "s3://", "http://x/y", "file://x", "s3://a b/c", "s3://a/b?c"]),
        (&record, "--archive-rate", &["x", "1KiB", "1000TiB"]),
        (&record, "--archive-max-age", &["x", "1h", "-1d"]),
        (&record, "--tunnel-port", &["x", "vxlan=x", "vxlan=99999", "nothing=5"]),
        (&["record", "--store", &store, "--replay", "/dev/null"], "--replay-speed", &["x", "-1", "nan", "0"]),
        (&serve, "--listen", &["x", "8640", "probe:8640", "127.0.0.1", "localhost:x"]),
        (&serve, "--allow-origin", &["x"]),
        (&["extract", "--count"], "--url", &["ftp://x", "://", "", "http://[::1"]),
    ];
    for (command, flag, values) in wrong {
        for value in *values {
            let given = format!("{flag}={value}");
            let output = run(command.iter().copied().chain([given.as_str()]));
            let told = said(&output).replace(value, "");
            assert_eq!(output.status.code(), Some(2), "{given}: {told}");
            assert!(told.lines().next().is_some_and(|line| line.len() > 20), "{given}: {told}");
            without_internals(&told, &given);
        }
    }
    drop(folder);
}

#[test]
fn wrong_files_are_told_in_words() {
    let (folder, store) = store();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let secret = "$argon2id$v=19$m=19456$secret";
    for text in
        [format!("[[token]]\nname = \"{secret}"), "[[token]]\nfoo = 1\n".to_owned(), "\u{1}".to_owned()]
    {
        let tokens = file("tokens.toml", text.as_bytes());
        let output = run(["token", "list", "--tokens", &tokens]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("line ") && !said(&output).contains(secret), "{}", said(&output));
        without_internals(&said(&output).replace("tokens.toml", ""), "a tokens file");
    }
    let pem = file("x.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let no_pem = file("y.pem", b"nothing");
    let text = file("x.mmdb", b"no database");
    for (arguments, words) in [
        (vec!["--tls-cert", &pem, "--tls-key", &no_pem], "private key"),
        (vec!["--tls-cert", &no_pem, "--tls-key", &no_pem], "no certificate"),
        (vec!["--geoip", &text], "MMDB"),
    ] {
        let output =
            run(["serve", "--store", &store, "--listen", "127.0.0.1:0"].into_iter().chain(arguments));
        assert!(said(&output).contains(words), "{}", said(&output));
        without_internals(&said(&output), words);
    }
    for ca in [&no_pem, &pem] {
        let output = run(["extract", "--url", "https://127.0.0.1:1", "--count", "--ca-file", ca]);
        assert!(said(&output).contains("--ca-file: "), "{}", said(&output));
        without_internals(&said(&output), "a file of authorities");
    }
    let output = run(["extract", "--url", "http://127.0.0.1:1", "--count"]);
    assert!(said(&output).contains("it cannot be reached: Connection refused"), "{}", said(&output));
    without_internals(&said(&output), "nobody there");
    let identity = std::path::Path::new(&store).join("store.toml");
    for text in ["", "format_version = \"x\"", "[[", "\u{0}"] {
        std::fs::write(&identity, text).expect("written");
        let output = run(["status", "--store", &store]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text:?}: {told}");
        assert!(told.contains("store.toml: "), "{told}");
        without_internals(&told.replace("store.toml", ""), "store.toml");
        let output = run(["record", "--store", &store, "--stdin"]);
        assert_eq!(output.status.code(), Some(3), "{text:?}: who writes has to know it");
        assert!(said(&output).contains("store.toml: "), "{}", said(&output));
        without_internals(&said(&output).replace("store.toml", ""), "store.toml");
    }
}

#[test]
fn wrong_parameters_over_http_are_told_in_words() {
    let (_folder, store) = store();
    let service = Service::of(&store);
    for query in [
        "packets?from=x",
        "packets?to=%2B5m",
        "packets?from=2026-11-22T10:31:01+01:00",
        "packets?tz=+02:00",
        "packets?tz=x",
        "packets?vni=x",
        "packets?max_packets=-1",
        "packets?max_bytes=1GiB",
        "packets?max_seconds=0",
        "packets?dedup=x",
        "packets?tunnel_peer=x",
        "packets?view=x",
        "packets?format=x",
        "packets?follow=1",
        "packets?filter=tcp.port%3D%3D80",
        "flows?cursor=x",
        "flows?limit=x",
        "flows?sort=x",
        "flows?query=bytes:x",
        "flows?query=sni:x*",
        "flows/x",
        "summary?top=x",
        "summary?buckets=x",
    ] {
        let answer = service.get(&format!("/api/v1/{query}"));
        let text = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!((400..500).contains(&answer.status) && text.len() > 15, "{query}: {} {text}", answer.status);
        without_internals(&text, query);
    }
    let lost = service.get("/api/v1/packets?from=2026-11-22T10:31:01+01:00").json();
    assert!(lost["detail"].to_string().contains("%2B"), "{lost}");
    for body in ["", "[]", "{", "{\"from\": 5}", "{\"filter\": }", "null", "{} x"] {
        let answer = service.post("/api/v1/packets", "application/json", body);
        let text = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 && text.len() > 15, "{body}: {text}");
        without_internals(&text, body);
    }
}

#[test]
fn this_machine_is_called_localhost() {
    let (_folder, store) = store();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let place = format!("localhost:{port}");
    let mut serving =
        netrewind().args(["serve", "--store", &store, "--listen", &place]).spawn().expect("it runs");
    crate::support::link::wait_until("it answers", || {
        let output = run(["extract", "--url", &place, "--count"]);
        output.status.success() && output.stdout == b"6\n"
    });
    serving.kill().expect("killed");
    serving.wait().expect("ended");
}

#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let packet = Packet { seconds: START, nanoseconds: 0, len: 60, bytes: vec![0; 60] };
    let name = "a\u{1b}]0;owned\u{7}\u{1b}[31mred\u{9b}2J.pcap";
    let (folder, store) = stored(name, &[packet]);
    let damaged = folder.path().join(format!("b{name}"));
    std::fs::write(&damaged, b"no capture").expect("written");
    let damaged = damaged.display().to_string();
    for arguments in [
        vec!["import", "--store", &store, &damaged],
        vec!["import", "--store", &store, "/nonexistent/\u{1b}[2J"],
        vec!["record", "--store", &store, "--replay", &damaged],
        vec!["extract", "--store", &store, "-o", "/nonexistent/\u{1b}[2J"],
        vec!["extract", "--store", "/nonexistent/\u{1b}[2J", "--count"],
        vec!["extract", "--store", &store, "--count", "--from", "\u{1b}[2J"],
        vec!["extract", "--store", &store, "--count", "--filter", "host \u{1b}[2J"],
        vec!["status", "--store", &store],
        vec!["verify", "--store", &store],
    ] {
        let output = run(&arguments);
        let shown = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&shown);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{arguments:?}: {text:?}");
    }
}

/// Subcommands and options of the `netrewind` commands in a line of a document; empty if there is none.
fn documented_commands(line: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let line = line.split(" #").next().unwrap_or_default();
    let mut commands = Vec::new();
    for command in line.split(['|', ';']).flat_map(|command| command.split("&&")) {
        // `sudo -u netrewind netrewind status` names a user before the command.
        let mut words = command
            .split_whitespace()
            .skip_while(|word| !["netrewind", "scripts/run"].contains(word))
            .skip_while(|word| ["netrewind", "scripts/run"].contains(word));
        let words: Vec<&str> = words.by_ref().take_while(|word| ![">", "--"].contains(word)).collect();
        let is_name =
            |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
        let most =
            if matches!(words.first(), Some(&"token" | &"extcap" | &"hold" | &"config")) { 2 } else { 1 };
        let names: Vec<String> =
            words.iter().take(most).take_while(is_name).map(|name| (*name).to_owned()).collect();
        let options = words.iter().filter(|word| word.starts_with("--"));
        let options =
            options.map(|word| word.split(['=', '`']).next().unwrap_or_default().to_owned()).collect();
        if !names.is_empty() {
            commands.push((names, options));
        }
    }
    commands
}

#[test]
fn documents_show_commands_and_options_that_exist() {
    let mut seen = 0;
    for Document { name: document, text } in documents::for_users() {
        for line in text.split("```").skip(1).step_by(2).flat_map(str::lines) {
            for (names, options) in documented_commands(line) {
                let help = run(names.iter().map(String::as_str).chain(["--help"]));
                assert!(help.status.success(), "{document}: no such command: {line}");
                let help = String::from_utf8_lossy(&help.stdout).into_owned();
                let is_known = |option: &str| help.split([' ', ',', '\n', '=']).any(|word| word == option);
                for option in options {
                    assert!(is_known(&option), "{document}: {names:?} has no {option}: {line}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 150, "{seen} options in the documents");
}
