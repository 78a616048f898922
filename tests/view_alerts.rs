//! Alerts of other tools, pasted into the page and read over HTTP.

use serde_json::{Value, json};

use crate::support::service::Service;
use crate::support::{done, tcpdump};
use crate::view::{drive, recorded, ui};

/// The conversation that the alerts are about: its client, its first packet.
const CLIENT: (&str, u16) = ("10.0.0.15", 40_012);
const SERVER: (&str, u16) = ("10.0.0.202", 80);
const AT: &str = "2026-11-22T09:18:40";
/// Packets of a conversation.
const PACKETS: usize = 7;

/// The same conversation as other tools write it, and the kind that each is read as.
fn alerts(store: &str) -> Vec<(&'static str, String)> {
    let ((client, from), (server, to)) = (CLIENT, SERVER);
    let search = format!("client:{client} client_port:{from}");
    let line = done(["flows", "--store", store, "--query", &search, "--format", "json"]);
    let flow: Value = serde_json::from_slice(&line).expect("one conversation");
    let id = flow["community_id"].as_str().expect("a Community ID").to_owned();
    let eve = json!({
        "timestamp": format!("{AT}.003000+0000"), "flow_id": 7, "event_type": "alert", "src_ip": server, "src_port": to,
        "dest_ip": client, "dest_port": from, "proto": "TCP", "alert": {"signature": "ET POLICY x", "severity": 3},
    });
    let zeek = json!({
        "ts": 1_795_339_120.0, "uid": "CHhAvVGS1DHFjwGM9", "id.orig_h": client, "id.orig_p": from, "id.resp_h": server,
        "id.resp_p": to, "proto": "tcp", "duration": 0.006,
    });
    vec![
        ("community-id", id),
        ("tuple", format!("{AT}Z  {client}:{from} -> {server}:{to} tcp")),
        ("eve", eve.to_string()),
        ("zeek", zeek.to_string()),
        (
            "zeek-table",
            format!(
                "1795339120.0\tCHhAvVGS1DHFjwGM9\t{client}\t{from}\t{server}\t{to}\ttcp\thttp\t0.006\t1\t2\tSF"
            ),
        ),
    ]
}

fn kind_of(name: &str) -> &str {
    name.strip_suffix("-table").unwrap_or(name)
}

#[test]
fn an_alert_that_is_pasted_leads_to_its_packets() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let alerts = alerts(&store);
    let file = folder.path().join("alerts.json");
    let texts: serde_json::Map<String, Value> =
        alerts.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    std::fs::write(&file, serde_json::to_vec(&texts).expect("JSON")).expect("written");
    let service = Service::of(&store);
    let address = format!("http://{}/", service.address);
    let seen = drive(&ui, "alert", &address, folder.path(), &[&file.display().to_string()]);
    let capture = folder.path().join("capture.pcap");
    let ((client, from), (server, to)) = (CLIENT, SERVER);
    let filter = format!("host {client} and port {from} and host {server} and port {to}");
    assert_eq!(tcpdump(&capture, &filter).expect("tcpdump reads it").len(), PACKETS);
    for (name, _) in &alerts {
        let totals = seen[name]["totals"].as_str().unwrap_or_default();
        assert!(
            totals.contains(&format!("{PACKETS} packets")) && totals.contains("1 conversation"),
            "{name}: {seen}"
        );
    }
    assert_eq!(seen["eve"]["from"], "2026-11-22T09:17:40.003000000Z", "{seen}");
    assert_eq!(seen["zeek"]["to"], "2026-11-22T09:19:40.006000000Z", "{seen}");
    assert!(seen["community-id"]["said"].as_str().unwrap_or_default().contains("It has no time"), "{seen}");
    assert_eq!(seen["in_filter"], seen["eve"]["filter"], "{seen}");
    assert!(seen["problem"].as_str().unwrap_or_default().contains("one address"), "{seen}");
}

#[test]
fn an_alert_over_http_is_a_selection_of_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let service = Service::of(&store);
    let encoded = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    for (name, text) in alerts(&store) {
        let got = service.get(&format!("/api/v1/events/selection?event={}&window=5s", encoded(&text)));
        let sent = json!({"event": text, "window": "5s"}).to_string();
        let sent = service.post("/api/v1/events/selection", "application/json", &sent);
        let selection = got.json();
        assert_eq!((got.status, &selection), (200, &sent.json()), "{name}");
        assert_eq!(selection["kind"], kind_of(name), "{selection}");
        let mut asked = String::from("/api/v1/packets/count?");
        for key in ["filter", "query", "from", "to"] {
            if let Some(value) = selection[key].as_str().filter(|value| !value.is_empty()) {
                asked.push_str(&format!("{key}={}&", encoded(value)));
            }
        }
        let counted = service.get(asked.trim_end_matches('&')).json();
        assert_eq!(counted["packets"], PACKETS, "{name}: {selection} {counted}");
    }
    for (asked, parameter) in [
        ("", "event"),
        ("event=x", "event"),
        ("event=10.0.0.1&window=x", "window"),
        ("event=10.0.0.1&tz=x", "tz"),
    ] {
        let refused = service.get(&format!("/api/v1/events/selection?{asked}"));
        let problem = refused.json();
        assert_eq!((refused.status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
        assert!(!problem["message"].as_str().unwrap_or_default().is_empty(), "{problem}");
    }
}

/// The table that `extract --hits` writes.
fn hits_by_command(folder: &std::path::Path, store: &str, list: &str) -> Vec<Vec<String>> {
    let table = folder.join("hits.csv").display().to_string();
    done(["extract", "--store", store, "--hosts-file", list, "--count", "-q", "--hits", &table]);
    let text = std::fs::read_to_string(&table).expect("a table");
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn a_list_leads_to_the_packets_of_each_address_that_was_met() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let list = folder.path().join("indicators.txt");
    std::fs::write(&list, "# a feed\n10.0.0.10\n10.0.0.200/30, !10.0.0.202\n203.0.113.9\n").expect("written");
    let list = list.display().to_string();
    let service = Service::of(&store);
    let seen = drive(&ui, "list", &format!("http://{}/", service.address), folder.path(), &[&list]);
    let told = hits_by_command(folder.path(), &store, &list);
    let rows = seen["rows"].as_array().expect("rows");
    assert_eq!((rows.len(), told.len()), (4, 4), "{seen}");
    for row in &told {
        let [address, entry, packets, _, first, last] = &row[..] else { panic!("{row:?}") };
        let is_it = |shown: &&Value| {
            [(0, address), (1, entry), (2, packets), (4, first), (5, last)]
                .iter()
                .all(|(at, text)| shown[at] == text.as_str())
        };
        assert!(rows.iter().any(|shown| is_it(&shown)), "{row:?} of {seen}");
    }
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    assert!(text("problem").contains("line 2") && text("problem").contains("example.com"), "{seen}");
    let first = rows[0][0].as_str().expect("an address");
    assert_eq!(text("filter"), format!("host {first}"), "{seen}");
    let packets = rows[0][2].as_str().expect("a number");
    assert!(text("totals").contains(&format!("{packets} packets")), "{seen}");
    assert!(text("ports").starts_with("21 packets"), "three conversations: {seen}");
    assert_eq!(text("ports_filter"), "port 40000 or portrange 40002-40003", "{seen}");
}
