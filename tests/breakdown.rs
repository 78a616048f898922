//! Conversations broken down over HTTP: values of labels, series by application and host, and both ways of sorting, as the list of
//! conversations adds up.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use serde_json::Value;

use crate::support::service::Service;
use crate::support::{captures, import, seed};

const CAPTURES: usize = 15;
const CAPTURE_BYTES_MAX: u64 = 2 << 20;
const FLOWS_MAX: usize = 5000;
const FILTERS: [&str; 3] = ["", "tcp", "udp+port+53"];
/// Properties that are no labels.
const OWN: [&str; 3] = ["application", "protocol", "server_port"];

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name}: {value}"))
}

fn bytes(flow: &Value) -> u64 {
    number(flow, "client_bytes") + number(flow, "server_bytes")
}

fn get(service: &Service, target: &str) -> Value {
    let answer = service.get(target);
    assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// Small captures, each served from a store of its own.
fn served(rng: &mut Rng, check: impl Fn(&Service, &str)) {
    let Some(all) = captures() else { return };
    for _ in 0..CAPTURES {
        let file = &all[rng.usize(..all.len())];
        if std::fs::metadata(file).is_ok_and(|file| file.len() > CAPTURE_BYTES_MAX) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        import(&store, &[file]);
        let service = Service::of(&store.display().to_string());
        check(&service, &file.display().to_string());
    }
}

/// All conversations in this order, page by page.
fn flows(service: &Service, query: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(service, &format!("/api/v1/flows?{query}&limit={limit}{cursor}"));
        found.extend(page["flows"].as_array().expect("flows").iter().cloned());
        let Some(next) = page["next"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

/// Conversations and bytes by property and value.
type Counts = BTreeMap<(String, String), (u64, u64)>;

fn counted(flows: &[Value]) -> Counts {
    let mut counts = Counts::new();
    for flow in flows {
        let mut add = |name: &str, value: &str| {
            let count = counts.entry((name.to_owned(), value.to_owned())).or_default();
            *count = (count.0 + 1, count.1 + bytes(flow));
        };
        add("protocol", flow["protocol"].as_str().expect("a protocol"));
        if let Some(port) = flow["server"]["port"].as_u64() {
            add("server_port", &port.to_string());
        }
        for (name, value) in flow["labels"].as_object().into_iter().flatten() {
            match value {
                Value::String(text) => add(name, text),
                Value::Array(texts) => {
                    texts.iter().filter_map(Value::as_str).for_each(|text| add(name, text))
                }
                _ => {}
            }
        }
    }
    counts
}

#[test]
fn values_are_counted_as_the_conversations_have_them() {
    let mut rng = Rng::with_seed(seed());
    served(&mut rng, |service, file| {
        for filter in FILTERS {
            let flows = flows(service, &format!("filter={filter}"), 10_000);
            if flows.len() > FLOWS_MAX {
                continue;
            }
            let wanted = counted(&flows);
            let answer = get(service, &format!("/api/v1/values?filter={filter}&limit=1000"));
            assert_eq!(number(&answer["totals"], "conversations"), flows.len() as u64, "{file}");
            let first = flows.iter().filter_map(|flow| flow["first"].as_str()).min();
            let last = flows.iter().filter_map(|flow| flow["last"].as_str()).max();
            assert_eq!((answer["first"].as_str(), answer["last"].as_str()), (first, last), "{file}");
            for property in answer["properties"].as_array().expect("properties") {
                let name = property["name"].as_str().expect("a name");
                let values = property["values"].as_array().expect("values");
                let own = wanted.iter().filter(|((known, _), _)| known == name);
                let expected: BTreeMap<&str, (u64, u64)> =
                    own.map(|((_, value), count)| (value.as_str(), *count)).collect();
                assert_eq!(number(property, "distinct"), expected.len() as u64, "{file} {name}");
                for value in values {
                    let text = value["value"].as_str().expect("a value");
                    let found = (number(value, "conversations"), number(value, "bytes"));
                    assert_eq!(Some(&found), expected.get(text), "{file} {filter} {name} {text}");
                }
                let ranks: Vec<u64> = values.iter().map(|value| number(value, "conversations")).collect();
                assert!(ranks.is_sorted_by(|one, next| one >= next), "{file} {name}");
                finds_them(service, filter, name, values, file);
            }
            let names = wanted.keys().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>();
            let told = answer["properties"].as_array().into_iter().flatten();
            let told: BTreeSet<_> = told.filter_map(|property| property["name"].as_str()).collect();
            assert_eq!(told, names, "{file}");
        }
    });
}

/// A property that is asked for by its value finds at least the conversations that are counted; and without it, the others.
fn finds_them(service: &Service, filter: &str, name: &str, values: &[Value], file: &str) {
    let is_plain = |text: &&str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '.');
    let plain = values.iter().filter_map(|value| Some((value["value"].as_str().filter(is_plain)?, value)));
    for (text, value) in plain.take(1).filter(|_| OWN.contains(&name)) {
        let totals = |query: &str| {
            let answer = get(service, &format!("/api/v1/flows?filter={filter}&limit=1&query={query}"));
            number(&answer["totals"], "conversations")
        };
        let found = totals(&format!("{name}:%22{text}%22"));
        assert_eq!(found, number(value, "conversations"), "{file} {name}:{text}");
        assert_eq!(found + totals(&format!("NOT+{name}:%22{text}%22")), totals(""), "{file} {name}:{text}");
    }
}

#[test]
fn parts_of_a_series_add_up_to_the_whole() {
    let mut rng = Rng::with_seed(seed());
    served(&mut rng, |service, file| {
        let summary = get(service, "/api/v1/summary?buckets=50&top=1000");
        let flows = flows(service, "", 10_000);
        let again = flows.iter().map(|flow| &flow["tcp"]);
        let again = again.flat_map(|tcp| {
            ["client_retransmissions", "server_retransmissions"].map(|name| tcp[name].as_u64())
        });
        let again: u64 = again.flatten().sum();
        let series = get(service, "/api/v1/series?by=application&buckets=50&parts=3");
        let parts: Vec<&Value> =
            series["parts"].as_array().expect("parts").iter().chain([&series["others"]]).collect();
        let sum = |part: &Value, name: &str| -> u64 {
            part[name].as_array().expect("numbers").iter().filter_map(Value::as_u64).sum()
        };
        let all = |name: &str| parts.iter().map(|part| sum(part, name)).sum::<u64>();
        let wanted = ["packets", "bytes"].map(|name| number(&summary["totals"], name));
        assert_eq!([all("packets"), all("bytes")], wanted, "{file}");
        assert_eq!(all("retransmissions"), again, "{file}");
        assert_eq!(
            series["at"].as_array().map(Vec::len),
            summary["series"].as_array().map(Vec::len),
            "{file}"
        );
        let by_host = get(service, "/api/v1/series?by=host&buckets=50&parts=3");
        for part in by_host["parts"].as_array().expect("parts") {
            let hosts = summary["top"]["hosts"].as_array().expect("hosts");
            let host = hosts.iter().find(|host| host["address"] == part["name"]).expect("the host");
            assert_eq!(sum(part, "bytes"), number(host, "bytes"), "{file} {}", part["name"]);
        }
    });
}

#[test]
fn conversations_are_sorted_both_ways() {
    let mut rng = Rng::with_seed(seed());
    served(&mut rng, |service, file| {
        for sort in ["bytes", "packets", "start", "duration"] {
            let ids = |query: &str, limit: usize| -> Vec<String> {
                let all = flows(service, query, limit);
                all.iter().map(|flow| flow["id"].as_str().expect("an id").to_owned()).collect()
            };
            let rank = |flow: &Value| match sort {
                "bytes" => bytes(flow),
                "packets" => number(flow, "client_packets") + number(flow, "server_packets"),
                _ => 0,
            };
            let there = ids(&format!("sort={sort}"), 10_000);
            if there.len() > 500 {
                continue;
            }
            let limit = there.len() / 3 + 1;
            let back = ids(&format!("sort={sort}&reverse=true"), limit);
            let whole = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
            assert_eq!((back.len(), whole(&back)), (there.len(), whole(&there)), "{file} {sort}: each once");
            let ranks: Vec<u64> =
                flows(service, &format!("sort={sort}&reverse=true"), limit).iter().map(rank).collect();
            assert!(ranks.is_sorted(), "{file} {sort}");
        }
    });
}
