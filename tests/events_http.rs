//! Events of other tools, and hits of lists, over HTTP: what the command gives.

use serde_json::{Value, json};

use crate::rows::store;
use crate::support::packets::{Packet, read_pcap};
use crate::support::service::Service;
use crate::support::{done, run};

const PACKETS: &str = "/api/v1/packets";

fn form(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

fn post(service: &Service, path: &str, pairs: &[(&str, &str)]) -> crate::support::service::Response {
    service.post(path, "application/x-www-form-urlencoded", &form(pairs))
}

fn printed(arguments: &[&str]) -> String {
    String::from_utf8(done(arguments)).expect("text")
}

#[test]
fn events_in_a_body_give_the_packets_of_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    for kind in ["eve", "zeek"] {
        let log =
            printed(&["flows", "--quiet", "--store", &store, "--filter", "tcp or udp", "--format", kind]);
        let file = folder.path().join(kind).display().to_string();
        std::fs::write(&file, &log).expect("written");
        let option = format!("--{kind}");
        for (window, filter) in [("1s", ""), ("1ms", "greater 60"), ("20s", "udp")] {
            let of_command = |more: &[&str]| {
                let arguments = [
                    "extract", "--quiet", "--store", &store, &option, &file, "--window", window, "--filter",
                    filter,
                ];
                done([&arguments[..], more].concat())
            };
            let asked = [(kind, &*log), ("window", window), ("filter", filter)];
            let told = post(&service, PACKETS, &asked);
            assert_eq!(told.status, 200, "{}", String::from_utf8_lossy(&told.body));
            assert!(told.body == of_command(&["-o", "-"]), "{kind} {window} {filter}");
            assert!(!read_pcap(&told.body).is_empty());
            let document = json!({kind: log, "window": window, "filter": filter}).to_string();
            let told = service.post("/api/v1/packets/count", "application/json", &document).json();
            let counted: u64 =
                String::from_utf8_lossy(&of_command(&["--count"])).trim().parse().expect("a number");
            assert_eq!(told["packets"], counted);
            let bounds = post(&service, "/api/v1/packets/estimate", &asked).json();
            let of_command: Value =
                serde_json::from_slice(&of_command(&["--estimate", "--json"])).expect("JSON");
            assert_eq!(bounds["packets_max"], of_command["packets_max"], "{bounds}");
        }
        let line = log.lines().last().filter(|_| kind == "eve").unwrap_or_default();
        if !line.is_empty() {
            let query = form(&[("eve", line), ("window", "1s")]);
            let listed = service.get(&format!("/api/v1/packets/list?{query}")).json();
            assert!(listed["packets"].as_array().is_some_and(|packets| !packets.is_empty()), "{listed}");
        }
    }
    let event = r#"{"timestamp":"2026-11-22T09:31:02Z","src_ip":"10.0.0.1","dest_ip":"192.0.2.1"}"#;
    for (asked, words) in [
        (&[("eve", event), ("from", "1h ago")][..], "from: the events of eve"),
        (&[("eve", event), ("around", "1h ago")], "around: the events"),
        (&[("eve", event), ("query", "bytes:>1")], "query: the events"),
        (&[("zeek", event), ("follow", "true")], "follow: the events of zeek"),
        (&[("zeek", event), ("eve", event)], "give eve or zeek"),
        (&[("eve", "{\"src_ip\":")], "eve: line 1 of the log"),
        (&[("zeek", "a\tb")], "#fields"),
        (&[("eve", event), ("window", "0s")], "window"),
        (&[("eve", event), ("tz", "Mars")], "tz"),
    ] {
        let refused = post(&service, PACKETS, asked);
        let detail = refused.json()["detail"].as_str().expect("text").to_owned();
        assert!(refused.status == 400 && detail.contains(words), "{asked:?}: {detail}");
    }
    let long = format!("{event}\n").repeat(262_145);
    let file = folder.path().join("long").display().to_string();
    std::fs::write(&file, &long).expect("written");
    let common = ["extract", "--store", &store, "--eve", &file];
    assert_eq!(run([&common[..], &["--count"]].concat()).status.code(), Some(2));
    let many = format!("{event}\n").repeat(10_001);
    assert_eq!(post(&service, PACKETS, &[("eve", &many)]).status, 200);
    std::fs::write(&file, many).expect("written");
    let each = folder.path().join("each").display().to_string();
    let refused = run([&common[..], &["--each", &each]].concat());
    assert!(
        refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("10001 files")
    );
}

#[test]
fn several_community_ids_are_any_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let flows = service.get("/api/v1/flows?sort=start").json();
    let id = |number: usize| flows["flows"][number]["community_id"].as_str().expect("an id").to_owned();
    let count = |ids: &str| {
        let told = post(&service, "/api/v1/packets/count", &[("community_id", ids)]);
        assert_eq!(told.status, 200, "{}", told.json());
        let counted = printed(&["extract", "--store", &store, "-q", "--count", "--community-id", ids]);
        assert_eq!(told.json()["packets"], counted.trim().parse::<u64>().expect("a number"));
        told.json()["packets"].as_u64().expect("a number")
    };
    let (one, other) = (count(&id(0)), count(&id(2)));
    assert_eq!(count(&format!("{}, {}", id(0), id(2))), one + other);
    // In a query string a plus sign is a space.
    let query = format!("community_id={},{}", id(0), id(2));
    assert_eq!(service.get(&format!("/api/v1/packets/count?{query}")).json()["packets"], one + other);
    for wrong in [format!("{},", id(0)), format!("{},1:short", id(0)), vec![id(0); 100].join(",")] {
        let refused = post(&service, "/api/v1/packets/count", &[("community_id", &wrong)]);
        assert_eq!(refused.status, 400, "{}", refused.json());
    }
}

#[test]
fn hits_over_http_are_those_of_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let listed = "10.0.0.0/24\n!10.0.0.2\n192.0.2.53 # a name server\nfd00::/8, 198.51.100.1-198.51.100.9";
    let file = folder.path().join("hosts").display().to_string();
    std::fs::write(&file, listed).expect("written");
    for filter in ["", "udp", "port 9"] {
        let arguments =
            ["extract", "-q", "--store", &store, "--hosts-file", &file, "--filter", filter, "--count"];
        let table = folder.path().join("hits.csv").display().to_string();
        let counted = printed(&[&arguments[..], &["--hits", &table]].concat());
        let table = std::fs::read_to_string(&table).expect("a table");
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "text/csv")];
        let body = form(&[("hosts", listed), ("filter", filter)]);
        let sent = service.send("POST", "/api/v1/packets/hits", &headers, &body);
        let told = crate::support::service::Response::read(sent, false);
        assert_eq!(
            (told.status, String::from_utf8_lossy(&told.body).into_owned()),
            (200, table),
            "{filter:?}"
        );
        let account: Value =
            serde_json::from_str(told.header("netrewind-answer").expect("an account")).expect("JSON");
        assert_eq!(account["packets"], counted.trim().parse::<u64>().expect("a number"));
        let document =
            post(&service, "/api/v1/packets/hits", &[("hosts", listed), ("filter", filter)]).json();
        assert_eq!(
            document["hits"].as_array().map(Vec::len),
            account["rows"].as_u64().map(|rows| rows as usize)
        );
        assert_eq!(document["packets"], account["packets"]);
        assert!(document["completeness"].is_object() && document["uncounted"] == 0, "{document}");
    }
    let short = service.get("/api/v1/packets/hits?hosts=10.0.0.1").json();
    assert_eq!((&short["hits"][0]["address"], &short["hits"][0]["packets"]), (&json!("10.0.0.1"), &json!(7)));
    let refused = service.get("/api/v1/packets/hits");
    assert!(refused.status == 400 && refused.json()["parameter"] == "hosts", "{}", refused.json());
    let wrong = post(&service, "/api/v1/packets/hits", &[("hosts", "10.0.0.1\nnobody")]);
    assert!(
        wrong.json()["detail"].as_str().is_some_and(|detail| detail.contains("line 2")),
        "{}",
        wrong.json()
    );
    // A token's filter is joined: nobody counts the packets of others.
    let tokens = folder.path().join("tokens").display().to_string();
    let said = printed(&[
        "token",
        "add",
        "some",
        "--tokens",
        &tokens,
        "--scope",
        "extract",
        "--filter",
        "host 10.0.0.4",
    ]);
    let token = format!("Bearer {}", said.split_whitespace().last().expect("a token"));
    drop(service);
    let service = Service::start(&["serve", "--store", &store, "--tokens", &tokens]);
    let ask = |path: &str, asked: &[(&str, &str)]| {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", &*token)];
        crate::support::service::Response::read(service.send("POST", path, &headers, &form(asked)), false)
    };
    let hits = ask("/api/v1/packets/hits", &[("hosts", listed)]).json();
    let addresses: Vec<&str> =
        hits["hits"].as_array().expect("hits").iter().filter_map(|hit| hit["address"].as_str()).collect();
    assert_eq!(addresses, ["10.0.0.4", "192.0.2.53"]);
    let log = printed(&["flows", "--quiet", "--store", &store, "--format", "zeek"]);
    let packets: Vec<Packet> = read_pcap(&ask(PACKETS, &[("zeek", &log), ("window", "1s")]).body);
    assert_eq!(packets.len(), 2, "of all events those that the token may see");
}
