//! Lists as rows: over HTTP the bytes of the command, read back by other programs; logs for Suricata's and Zeek's readers, whose
//! events lead back to the packets of each conversation.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::packets::{Packet, read_pcap, tcp, write_pcap};
use crate::support::service::{Response, Service};
use crate::support::{done, import, run};

const START: u32 = 1_795_339_862;
/// A user agent with everything that CSV has to quote.
const AGENT: &str = "one \"two\", three";

fn checked(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: scripts/install test"));
    child.stdin.take().expect("a pipe").write_all(input).expect("read");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn frame(at: (u32, u32), ether_type: u16, body: &[u8]) -> Packet {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(body);
    Packet { seconds: at.0, nanoseconds: at.1, len: u32::try_from(bytes.len()).expect("short"), bytes }
}

fn ipv4(at: (u32, u32), protocol: u8, [from, to]: [[u8; 4]; 2], payload: &[u8]) -> Packet {
    let length = u16::try_from(20 + payload.len()).expect("short").to_be_bytes();
    let head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    frame(at, 0x0800, &[&head[..], &from, &to, payload].concat())
}

fn ipv6(at: (u32, u32), protocol: u8, [from, to]: [u8; 2], payload: &[u8]) -> Packet {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let address = |last: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
    frame(at, 0x86dd, &[&head[..], &address(from), &address(to), payload].concat())
}

fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("short");
    let words = [ports[0], ports[1], length, 0];
    [&words.map(u16::to_be_bytes).concat()[..], payload].concat()
}

/// Two HTTP conversations, of which one ends; a refused one; one way; DNS, IPv6, pings, ARP.
fn packets() -> Vec<Packet> {
    let (client, server) = (([10, 0, 0, 1], 40_000), ([192, 0, 2, 1], 80));
    let [there, back] = [[client, server], [server, client]];
    let request = format!("GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: {AGENT}\r\n\r\n");
    let mut packets = vec![
        tcp((START, 1), there, (1, 0), 0x02, b""),
        tcp((START, 1_000_001), back, (1, 2), 0x12, b""),
        tcp((START, 2_000_001), there, (2, 2), 0x10, b""),
        tcp((START, 3_000_001), there, (2, 2), 0x18, request.as_bytes()),
        tcp((START + 1, 500), back, (2, 3), 0x18, b"HTTP/1.1 200 OK\r\n\r\n"),
        tcp((START + 2, 999_999_999), there, (3, 3), 0x11, b""),
        tcp((START + 3, 7), back, (3, 4), 0x11, b""),
    ];
    let other = [([10, 0, 0, 2], 40_001), ([192, 0, 2, 1], 443)];
    packets.push(tcp((START + 4, 0), other, (1, 0), 0x02, b""));
    packets.push(tcp((START + 4, 900), [other[1], other[0]], (0, 2), 0x14, b""));
    let one_way = [([10, 0, 0, 3], 40_002), ([192, 0, 2, 9], 22)];
    packets.extend((0..3).map(|number| tcp((START + 5 + number, 0), one_way, (1, 0), 0x02, b"")));
    let dns =
        [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x07example\x03org\x00", &[0, 1, 0, 1][..]].concat();
    let ends = [[10, 0, 0, 4], [192, 0, 2, 53]];
    packets.push(ipv4((START + 9, 5), 17, ends, &udp([5300, 53], &dns)));
    packets.push(ipv4((START + 9, 80_000_005), 17, [ends[1], ends[0]], &udp([53, 5300], &dns)));
    packets.push(ipv6((START + 10, 0), 17, [1, 2], &udp([9001, 9000], b"hello")));
    packets.push(ipv6((START + 11, 123_456_789), 17, [1, 2], &udp([9001, 9000], b"hello")));
    let ping = |kind: u8, ends| ipv4((START + 12, u32::from(kind)), 1, ends, &[kind, 0, 0, 0, 0, 9, 0, 1]);
    let ends = [[10, 0, 0, 5], [192, 0, 2, 5]];
    packets.extend([ping(0, [ends[1], ends[0]]), ping(8, ends)]);
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2, 0, 0, 0, 0, 2, 10, 0, 0, 1], &[0; 6], &[10, 0, 0, 9]];
    packets.push(frame((START + 13, 0), 0x0806, &arp.concat()));
    packets
}

pub fn store(folder: &Path) -> String {
    let (capture, store) = (folder.join("all.pcap"), folder.join("store"));
    std::fs::write(&capture, write_pcap(1, &packets())).expect("written");
    import(&store, &[&capture]);
    store.display().to_string()
}

fn accepting(service: &Service, target: &str, accepted: &str) -> Response {
    Response::read(service.send("GET", target, &[("Accept", accepted)], ""), false)
}

#[test]
fn rows_over_http_are_those_of_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let printed = |arguments: &[&str]| done([&["flows", "--quiet", "--store", &store], arguments].concat());
    let types = ["text/csv", "application/x-ndjson", "application/x-ndjson", "text/tab-separated-values"];
    for ((name, command), media_type) in
        [("csv", "csv"), ("ndjson", "json"), ("eve", "eve"), ("zeek", "zeek")].into_iter().zip(types)
    {
        let rows = printed(&["--format", command, "--limit", "100", "--sort", "start"]);
        let told = service.get(&format!("/api/v1/flows?sort=start&format={name}"));
        assert!(told.body == rows, "{name}: {}", String::from_utf8_lossy(&told.body));
        assert_eq!(told.header("content-type"), Some(media_type));
        assert_eq!(told.header("vary").map(|vary| vary.contains("accept")), Some(true));
        let account: Value =
            serde_json::from_str(told.header("netrewind-answer").expect("an account")).expect("JSON");
        let left_out = if name == "eve" || name == "zeek" { json!(1) } else { json!(null) };
        assert_eq!((&account["complete"], &account["left_out"]), (&json!(true), &left_out), "{account}");
        assert_eq!(account["totals"]["packets"], packets().len());
    }
    let csv = accepting(&service, "/api/v1/flows?sort=start", "text/csv");
    assert_eq!(csv.body, printed(&["--format", "csv", "--limit", "100", "--sort", "start"]));
    let lines = accepting(&service, "/api/v1/flows", "application/json;q=0.5, application/x-ndjson");
    assert_eq!(lines.body, printed(&["--format", "json", "--limit", "100"]));
    for (list, top) in [("hosts", "hosts"), ("ports", "ports"), ("applications", "apps")] {
        for (name, command) in [("csv", "csv"), ("ndjson", "json")] {
            let told = service.get(&format!("/api/v1/summary?list={list}&format={name}&top=5"));
            assert_eq!(
                told.body,
                printed(&["--top", top, "--limit", "5", "--format", command]),
                "{list} {name}"
            );
        }
    }
    // The rows of a page lead to the next one, as a document does.
    let page = accepting(&service, "/api/v1/flows?sort=start&limit=3", "text/csv");
    let account: Value =
        serde_json::from_str(page.header("netrewind-answer").expect("an account")).expect("JSON");
    assert_eq!(account["rows"], 3);
    let next = account["next"].as_str().expect("a cursor");
    let rest = accepting(&service, &format!("/api/v1/flows?limit=100&cursor={next}"), "text/csv");
    let lines =
        |body: &[u8]| String::from_utf8_lossy(body).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!([lines(&page.body), lines(&rest.body)].concat(), lines(&csv.body));
    // Without a wish, as browsers and curl ask, it is one document.
    for accepted in ["*/*", "text/html,application/xml;q=0.9,*/*;q=0.8"] {
        assert!(accepting(&service, "/api/v1/flows", accepted).json()["flows"].is_array());
    }
    for path in ["flows", "summary", "values", "series", "packets/list"] {
        let refused = accepting(&service, &format!("/api/v1/{path}"), "image/png");
        let problem = refused.json();
        assert_eq!((refused.status, &problem["type"]), (406, &json!("/problems/not-acceptable")));
        assert!(problem["detail"].as_str().expect("text").contains("text/csv"), "{problem}");
    }
    for (target, words) in [
        ("/api/v1/flows?format=xml", "json, csv, ndjson, eve, zeek"),
        ("/api/v1/summary?format=eve", "json, csv, ndjson"),
        ("/api/v1/summary?format=csv", "list: rows"),
        ("/api/v1/summary?list=hosts", "list: rows"),
        ("/api/v1/summary?list=people&format=csv", "series, hosts"),
    ] {
        let refused = service.get(target);
        let detail = refused.json()["detail"].as_str().expect("text").to_owned();
        assert!(refused.status == 400 && detail.contains(words), "{target}: {detail}");
    }
}

#[test]
fn rows_have_what_documents_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::of(&store(folder.path()));
    let read = "import csv, json, sys; print(json.dumps(list(csv.DictReader(sys.stdin, strict=True))))";
    let rows = |target: &str| -> Vec<Value> {
        let csv = accepting(&service, target, "text/csv");
        assert_eq!(csv.status, 200, "{target}: {}", String::from_utf8_lossy(&csv.body));
        let lines = accepting(&service, target, "application/x-ndjson");
        let rows: Vec<Value> =
            serde_json::from_str(&checked("python3", &["-c", read], &csv.body)).expect("rows");
        assert_eq!(String::from_utf8_lossy(&lines.body).lines().count(), rows.len(), "{target}");
        rows
    };
    // Quotes, commas and all, read by another program.
    let flows = rows("/api/v1/flows?sort=start");
    let labels: Value = serde_json::from_str(flows[0]["labels"].as_str().expect("labels")).expect("JSON");
    assert_eq!(labels["http_user_agent"], AGENT);
    let document = service.get("/api/v1/flows?sort=start").json();
    assert_eq!(flows.len(), document["flows"].as_array().expect("flows").len());
    let number =
        |row: &Value, name: &str| -> u64 { row[name].as_str().expect("text").parse().expect("a number") };

    let values = rows("/api/v1/values");
    let document = service.get("/api/v1/values").json();
    let expected: Vec<Value> = document["properties"]
        .as_array()
        .expect("properties")
        .iter()
        .flat_map(|property| {
            let of =
                |value: &Value| json!([property["name"], value["value"], value["packets"], value["bytes"]]);
            property["values"].as_array().expect("values").iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    let told: Vec<Value> = values
        .iter()
        .map(|row| json!([row["property"], row["value"], number(row, "packets"), number(row, "bytes")]))
        .collect();
    assert_eq!(told, expected);

    let series = rows("/api/v1/series?parts=2");
    let document = service.get("/api/v1/series?parts=2").json();
    let buckets = document["at"].as_array().expect("buckets").len();
    let parts = document["parts"].as_array().expect("parts");
    assert_eq!(series.len(), buckets * (parts.len() + 1));
    for part in parts.iter().chain([&document["others"]]) {
        let of_part = series.iter().filter(|row| row["part"] == part["name"]);
        let packets: Vec<u64> = of_part.map(|row| number(row, "packets")).collect();
        assert_eq!(json!(packets), part["packets"], "{part}");
    }
    for (list, member) in
        [("series", "/series"), ("edges", "/edges"), ("conversations", "/top/conversations")]
    {
        let rows = rows(&format!("/api/v1/summary?list={list}"));
        let document = service.get("/api/v1/summary").json();
        let of_document = document.pointer(member).and_then(Value::as_array).expect("a list");
        assert_eq!(rows.len(), of_document.len(), "{list}");
        if list == "series" {
            let sum: u64 = rows.iter().map(|row| number(row, "packets")).sum();
            assert_eq!(sum as usize, packets().len());
        }
    }
    let listed = rows("/api/v1/packets/list?bytes=true");
    for (row, packet) in listed.iter().zip(packets_in_order()) {
        assert_eq!(number(row, "length"), u64::from(packet.len));
        let bytes: String = packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row["bytes"], bytes);
    }
    assert_eq!(listed.len(), packets().len());
}

fn packets_in_order() -> Vec<Packet> {
    let mut packets = packets();
    packets.sort_by_key(Packet::at_ns);
    packets
}

/// Every line of the two logs gives back exactly the packets of its conversation, by the events' own times.
#[test]
fn logs_of_conversations_lead_back_to_their_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let document = Service::of(&store).get("/api/v1/flows?sort=start&limit=100").json();
    let flows: Vec<&Value> = document["flows"].as_array().expect("flows").iter().collect();
    let with_addresses: Vec<&&Value> =
        flows.iter().filter(|flow| flow["client"]["address"].is_string()).collect();
    assert_eq!(with_addresses.len() + 1, flows.len(), "ARP has no addresses of IP");
    for kind in ["eve", "zeek"] {
        let output = run(["flows", "--store", &store, "--sort", "start", "--limit", "100", "--format", kind]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("1 conversations are left out"), "{said}");
        let log = folder.path().join(format!("{kind}.log"));
        std::fs::write(&log, &output.stdout).expect("written");
        let each = folder.path().join(kind);
        let (log, each_text) = (log.display().to_string(), each.display().to_string());
        let option = format!("--{kind}");
        done([
            "extract", "--quiet", "--store", &store, &option, &log, "--window", "1ns", "--each", &each_text,
        ]);
        let head = if kind == "zeek" { 8 } else { 0 };
        for (number, flow) in (1..).zip(&with_addresses) {
            let found: Vec<_> = std::fs::read_dir(&each)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
                .filter(|name| name.starts_with(&format!("{}-", number + head)))
                .collect();
            assert_eq!(found.len(), 1, "{kind} {number}");
            if kind == "zeek" {
                let id = flow["id"].as_str().expect("an id");
                assert_eq!(
                    found[0],
                    format!("{}-C{id}.pcap", number + head),
                    "a uid has the conversation's id"
                );
            }
            let told = read_pcap(&std::fs::read(each.join(&found[0])).expect("a capture"));
            let id = flow["id"].as_str().expect("an id");
            let own = done(["extract", "--quiet", "--store", &store, "--flow", id, "-o", "-"]);
            assert!(told == read_pcap(&own), "{kind}: {flow}");
            assert!(!told.is_empty());
        }
    }
    // By readers of their own kind.
    let eve = std::fs::read(folder.path().join("eve.log")).expect("a log");
    let program = r#"select(.event_type == "flow") | [.proto, .src_ip, .dest_port // 0, .flow.state, .flow.pkts_toserver + .flow.pkts_toclient, .app_proto // "", .tcp.tcp_flags // ""] | @csv"#;
    let told = checked("jq", &["-r", program], &eve);
    let expected = "\
\"TCP\",\"10.0.0.1\",80,\"closed\",7,\"http\",\"1b\"
\"TCP\",\"10.0.0.2\",443,\"closed\",2,\"\",\"16\"
\"TCP\",\"10.0.0.3\",22,\"new\",3,\"\",\"02\"
\"UDP\",\"10.0.0.4\",53,\"established\",2,\"dns\",\"\"
\"UDP\",\"fd00::1\",9000,\"new\",2,\"\",\"\"
\"ICMP\",\"10.0.0.5\",0,\"established\",2,\"\",\"\"
";
    assert_eq!(told, expected);
    let zeek = std::fs::read(folder.path().join("zeek.log")).expect("a log");
    let program = r##"
import sys
names = types = None
for line in sys.stdin.read().splitlines():
    key, *rest = line.split("\t")
    if key == "#fields": names = rest
    elif key == "#types": types = rest
    elif not line.startswith("#"):
        row = dict(zip(names, line.split("\t"), strict=True))
        assert len(types) == len(names)
        print(row["proto"], row["id.orig_h"], row["id.orig_p"], row["id.resp_p"], row["service"], row["conn_state"],
              int(row["orig_pkts"]) + int(row["resp_pkts"]), float(row["duration"]), row["community_id"][:2])
"##;
    let told = checked("python3", &["-c", program], &zeek);
    let expected = "\
tcp 10.0.0.1 40000 80 http SF 7 3.000001 1:
tcp 10.0.0.2 40001 443 - REJ 2 1e-06 1:
tcp 10.0.0.3 40002 22 - S0 3 2.0 1:
udp 10.0.0.4 5300 53 dns SF 2 0.080001 1:
udp fd00::1 9001 9000 - S0 2 1.123457 1:
icmp 10.0.0.5 8 0 - OTH 2 1e-06 1:
";
    assert_eq!(told, expected);
    for (arguments, words) in
        [(&["--top", "hosts", "--format", "eve"][..], "leave out --top"), (&["--format", "xml"], "zeek")]
    {
        let refused = run([&["flows", "--store", &store], arguments].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(words), "{said}");
    }
}
