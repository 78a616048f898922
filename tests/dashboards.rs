//! The dashboard and the alerts of docs/grafana use figures that there are, and the alerts are raised when they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::support::link::{Link, count_in_logbook, wait_until};
use crate::support::may_make_namespaces;
use crate::support::packets::write_pcap;
use crate::support::served::packet;
use crate::support::service::Service;
use crate::tidy::root;

const DASHBOARD: &str = "docs/grafana/dashboard.json";
const ALERTS: &str = "docs/grafana/alerts.yml";
/// Labels that Prometheus itself adds.
const ADDED_LABELS: [&str; 2] = ["instance", "job"];

fn text_of(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The queries of all panels and variables.
fn queries(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, inner)| match inner.as_str() {
                Some(text) if ["expr", "query"].contains(&&**name) => vec![text.to_owned()],
                _ => queries(inner),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

/// The expressions of the alerts, each with its name.
fn alerts() -> Vec<(String, String)> {
    let text = text_of(ALERTS);
    let behind = |words: &str| {
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(words));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let (names, expressions) = (behind("- alert:"), behind("expr:"));
    assert_eq!(names.len(), expressions.len());
    names.into_iter().zip(expressions).collect()
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The names of figures in a query.
fn metrics_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|next| !is_of_word(next));
    let ours = words.filter(|word| word.starts_with("netrewind_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// The labels that a query chooses by and sums over.
fn labels_in(query: &str) -> BTreeSet<String> {
    let chosen = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let chosen = chosen.flat_map(|inside| inside.split(',')).filter_map(|part| part.split(['=', '!']).next());
    let summed = query.split(" by (").skip(1).chain(query.split(" on (").skip(1));
    let summed = summed.filter_map(|rest| rest.split(')').next()).flat_map(|inside| inside.split(','));
    chosen.chain(summed).map(|label| label.trim().to_owned()).collect()
}

/// The names of all samples that a text of figures announces, and the labels that it has.
fn announced(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let names = kinds.iter().flat_map(|(name, kind)| {
        let suffixes: &[&str] = match *kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            "gauge" => &[""],
            other => panic!("{name} is a {other}"),
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    let labels = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('{'));
    let labels = labels.flat_map(|(_, rest)| rest.split("\",")).filter_map(|part| part.split_once("=\""));
    (names.collect(), labels.map(|(label, _)| label.to_owned()).collect())
}

#[test]
fn figures_of_dashboard_and_alerts_are_those_of_a_recorder() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (folder.path().join("store"), folder.path().join("capture.pcap"));
    let packets: Vec<_> = (0..300).map(|number| packet(number, 1000)).collect();
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let link = Link::new();
    let archive = format!("file://{}", folder.path().display());
    let _recording = link.record(&store, &["--budget", "1GiB", "--archive", &archive]);
    let service = Service::of(&store.display().to_string());
    link.send(&capture, &["--mbps=40"]);
    wait_until("writes are logged", || count_in_logbook(&store, "\"writes\":") >= 1);
    wait_until("packets are logged", || count_in_logbook(&store, "\"received\":300") >= 1);
    wait_until("the archive is logged", || count_in_logbook(&store, "\"event\":\"archive\"") >= 1);
    assert_eq!(service.get("/api/v1/packets/count?from=1970-01-01T00:00:00Z").status, 200);
    assert_eq!(service.get("/api/v1/packets?from=1970-01-01T00:00:00Z").status, 200);
    let mut text = String::new();
    wait_until("an extraction is counted", || {
        text = String::from_utf8(service.get("/metrics").body).expect("text");
        text.contains("netrewind_extractions_total{")
    });
    let (names, mut labels) = announced(&text);
    labels.extend(ADDED_LABELS.map(str::to_owned));

    let dashboard: Value = serde_json::from_str(&text_of(DASHBOARD)).expect("JSON");
    let of_dashboard = queries(&dashboard);
    assert!(of_dashboard.len() > 20, "{of_dashboard:?}");
    let of_alerts = alerts().into_iter().map(|(_, expression)| expression);
    for query in of_dashboard.into_iter().chain(of_alerts) {
        let unknown: Vec<_> = metrics_in(&query).difference(&names).cloned().collect();
        assert!(unknown.is_empty(), "{query}: /metrics has no {unknown:?}:\n{text}");
        let unknown: Vec<_> = labels_in(&query).difference(&labels).cloned().collect();
        assert!(unknown.is_empty(), "{query}: /metrics has no label {unknown:?}:\n{text}");
    }
    let interface =
        format!("netrewind_interface_received_packets_total{{interface=\"{}\"}} 300\n", Link::RECORDED);
    for line in
        ["netrewind_recorder_budget_bytes 1073741824\n", &interface, "netrewind_build_info{version=\""]
    {
        assert!(text.contains(line), "no {line} in {text}");
    }
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    assert!(number("netrewind_store_free_bytes") > 0.0 && number("netrewind_store_kept_seconds") < 600.0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).expect("a process");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let resident: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    let told = number("process_resident_memory_bytes") / 1024.0;
    assert!((told - resident).abs() < resident / 4.0, "told {told} KiB, the kernel says {resident}");
    assert!(number("process_open_fds") < number("process_max_fds"));
    assert!(number("process_cpu_seconds_total") > 0.0 && number("process_threads") > 2.0);
}

/// What a figure is, minute by minute, when an alert should be raised: `series`, `values` in the notation of promtool.
const RAISED_BY: [(&str, &[(&str, &str)]); 16] = [
    ("NetrewindAbsent", &[("another", "1x60")]),
    ("NotRecording", &[("netrewind_recording{instance=\"a\"}", "0x60")]),
    ("DiskFailing", &[("netrewind_recorder_disk_failing{instance=\"a\"}", "1x60")]),
    (
        "PacketsDropped",
        &[(
            "netrewind_interface_dropped_packets_total{instance=\"a\",interface=\"eth1\",reason=\"kernel\"}",
            "0+7x60",
        )],
    ),
    (
        "InterfaceSilent",
        &[
            ("netrewind_interface_received_packets_total{instance=\"a\",interface=\"eth1\"}", "7x60"),
            ("netrewind_recording{instance=\"a\"}", "1x60"),
        ],
    ),
    (
        "RingFilling",
        &[
            ("netrewind_recorder_ring_filled_blocks{instance=\"a\",lane=\"0\"}", "60x60"),
            ("netrewind_recorder_ring_blocks{instance=\"a\",lane=\"0\"}", "64x60"),
        ],
    ),
    ("RingFroze", &[("netrewind_recorder_ring_freezes_total{instance=\"a\"}", "0+1x60")]),
    (
        "WritesSlow",
        &[
            ("netrewind_recorder_write_duration_seconds_bucket{instance=\"a\",le=\"1.0\"}", "0x60"),
            ("netrewind_recorder_write_duration_seconds_bucket{instance=\"a\",le=\"5.0\"}", "0+9x60"),
            ("netrewind_recorder_write_duration_seconds_bucket{instance=\"a\",le=\"+Inf\"}", "0+9x60"),
        ],
    ),
    (
        "KeptTooShort",
        &[
            ("netrewind_store_kept_seconds{instance=\"a\"}", "3600x60"),
            ("netrewind_store_bytes{instance=\"a\"}", "99x60"),
            ("netrewind_recorder_budget_bytes{instance=\"a\"}", "100x60"),
        ],
    ),
    (
        "BudgetBeyondDisk",
        &[
            ("netrewind_store_free_bytes{instance=\"a\"}", "40x60"),
            ("netrewind_store_bytes{instance=\"a\"}", "50x60"),
            ("netrewind_recorder_budget_bytes{instance=\"a\"}", "100x60"),
        ],
    ),
    ("IndexBehind", &[("netrewind_index_lag_seconds{instance=\"a\"}", "7200x60")]),
    ("ArchiveBehind", &[("netrewind_archive_lag_seconds{instance=\"a\"}", "7200x60")]),
    ("ArchiveLosesSegments", &[("netrewind_archive_lost_segments_total{instance=\"a\"}", "0+1x60")]),
    (
        "RequestsFail",
        &[("netrewind_requests_total{instance=\"a\",route=\"/api/v1/packets\",status=\"500\"}", "0+60x60")],
    ),
    (
        "FewDescriptorsLeft",
        &[
            ("process_open_fds{instance=\"a\"}", "900x60"),
            ("process_max_fds{instance=\"a\"}", "1000x60"),
            ("netrewind_recording{instance=\"a\"}", "1x60"),
        ],
    ),
    (
        "RestartsOften",
        &[
            ("process_start_time_seconds{instance=\"a\"}", "0+60x60"),
            ("netrewind_recording{instance=\"a\"}", "1x60"),
        ],
    ),
];

/// The same of a recorder that is well.
const WELL: [(&str, &str); 16] = [
    ("netrewind_recording{instance=\"a\"}", "1x60"),
    ("netrewind_recorder_disk_failing{instance=\"a\"}", "0x60"),
    (
        "netrewind_interface_dropped_packets_total{instance=\"a\",interface=\"eth1\",reason=\"kernel\"}",
        "7x60",
    ),
    ("netrewind_interface_received_packets_total{instance=\"a\",interface=\"eth1\"}", "0+7x60"),
    ("netrewind_recorder_ring_filled_blocks{instance=\"a\",lane=\"0\"}", "6x60"),
    ("netrewind_recorder_ring_blocks{instance=\"a\",lane=\"0\"}", "64x60"),
    ("netrewind_recorder_ring_freezes_total{instance=\"a\"}", "7x60"),
    ("netrewind_store_kept_seconds{instance=\"a\"}", "3600x60"),
    ("netrewind_store_bytes{instance=\"a\"}", "50x60"),
    ("netrewind_store_free_bytes{instance=\"a\"}", "60x60"),
    ("netrewind_recorder_budget_bytes{instance=\"a\"}", "100x60"),
    ("netrewind_index_lag_seconds{instance=\"a\"}", "0x60"),
    ("netrewind_archive_lag_seconds{instance=\"a\"}", "120x60"),
    ("netrewind_archive_lost_segments_total{instance=\"a\"}", "3x60"),
    ("netrewind_requests_total{instance=\"a\",route=\"/healthz\",status=\"503\"}", "0+60x60"),
    ("process_start_time_seconds{instance=\"a\"}", "60x60"),
];

/// A test of promtool: these series, and which alerts are there after 50 minutes.
fn unit_test(series: &[(&str, &str)], expected: &[(&str, bool)]) -> String {
    let mut text = "  - interval: 1m\n    input_series:\n".to_owned();
    for (name, values) in series {
        text += &format!("      - series: '{name}'\n        values: '{values}'\n");
    }
    text += "    promql_expr_test:\n";
    for (alert, is_raised) in expected {
        let samples = if *is_raised { "[{labels: '{}', value: 1}]" } else { "[]" };
        let expression = format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}) > bool 0");
        text += &format!(
            "      - expr: '{expression}'\n        eval_time: 50m\n        exp_samples: {samples}\n"
        );
    }
    text
}

#[test]
fn alerts_are_raised_when_they_should_be_and_only_then() {
    let promtool = |arguments: &[&str]| Command::new("promtool").args(arguments).output();
    let alerts_file = root().join(ALERTS).display().to_string();
    let Ok(checked) = promtool(&["check", "rules", &alerts_file]) else {
        return eprintln!("skipped: promtool is not installed");
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let names: Vec<String> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, RAISED_BY.map(|(name, _)| name), "each alert has a test");
    let mut tests = format!("rule_files: ['{alerts_file}']\nevaluation_interval: 1m\ntests:\n");
    for (name, series) in RAISED_BY {
        tests += &unit_test(series, &[(name, true)]);
    }
    tests += &unit_test(&WELL, &RAISED_BY.map(|(name, _)| (name, false)));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tests.yml");
    std::fs::write(&file, tests).expect("written");
    let tested = promtool(&["test", "rules", &file.display().to_string()]).expect("promtool");
    let said = [tested.stdout, tested.stderr].concat();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&said));
}
