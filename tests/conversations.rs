//! Packets of conversations that no filter can express: by id and by search, from the command line and over HTTP.

use std::path::Path;

use serde_json::Value;

use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::service::Service;
use crate::support::{done, import, run};

const START: u32 = 1_795_339_000;
/// Packets of each conversation.
const EACH: usize = 10;

/// An Ethernet frame of a VLAN.
fn tagged(vlan: u16, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let tag = [[0x81, 0], vlan.to_be_bytes(), ether_type.to_be_bytes()].concat();
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &tag, payload].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("short").to_be_bytes();
    let head = [0x45, 0, length[0], length[1], 0, 7, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&head[..], payload].concat()
}

fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("short").to_be_bytes();
    [&ports[0].to_be_bytes()[..], &ports[1].to_be_bytes(), &length, &[0, 0], payload].concat()
}

/// UDP behind a hop-by-hop header, one way or the other.
fn extended(is_answer: bool) -> Vec<u8> {
    let payload =
        if is_answer { udp([8000, 32_780], b"heard behind") } else { udp([32_780, 8000], b"said behind") };
    let length = u16::try_from(8 + payload.len()).expect("short").to_be_bytes();
    let (one, two) = (
        [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    );
    let ends = if is_answer { [two, one] } else { [one, two] }.concat();
    let head = [0x60, 0, 0, 0, length[0], length[1], 0, 64];
    [&head[..], &ends, &[17, 0, 1, 4, 0, 0, 0, 0], &payload].concat()
}

/// All in VLAN 7: two networks with the same addresses, ports behind an extension header, an echo, ARP.
pub fn packets() -> Vec<Packet> {
    let inner = tagged(9, 0x0800, &ipv4(17, &udp([1000, 2000], b"the same in both")));
    let network = |vni: u8| {
        let header = [&[8, 0, 0, 0, 0, 0, vni, 0][..], &inner].concat();
        tagged(7, 0x0800, &ipv4(17, &udp([50_000, 4789], &header)))
    };
    let arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    let of_round = |round: usize| {
        [
            network(5),
            network(6),
            tagged(7, 0x86dd, &extended(round % 2 == 1)),
            tagged(7, 0x0800, &ipv4(1, &[if round.is_multiple_of(2) { 8 } else { 0 }, 0, 0, 0, 0, 1, 0, 1])),
            tagged(7, 0x0806, &arp),
        ]
    };
    let frames = (0..EACH).flat_map(of_round);
    let packet = |(number, bytes): (usize, Vec<u8>)| Packet {
        seconds: START + number as u32,
        nanoseconds: 5,
        len: bytes.len() as u32,
        bytes,
    };
    frames.enumerate().map(packet).collect()
}

/// A store of these, in segments that expect nothing of each other.
pub fn store(folder: &Path) -> String {
    let store = folder.join("store");
    for (number, part) in packets().chunks(20).enumerate() {
        let capture = folder.join(format!("{number}.pcap"));
        std::fs::write(&capture, write_pcap(1, part)).expect("written");
        import(&store, &[&capture]);
    }
    store.display().to_string()
}

fn records(store: &str, more: &[&str]) -> Vec<Value> {
    let lines = done([&["flows", "--store", store, "--format", "json", "--limit", "100"][..], more].concat());
    let text = String::from_utf8(lines).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn told(record: &Value) -> u64 {
    let packets = |member: &str| record[member].as_u64().expect("a number");
    packets("client_packets") + packets("server_packets")
}

#[test]
fn a_conversation_is_handed_over_by_its_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let url = format!("http://{}", service.address);
    let all = records(&store, &[]);
    assert_eq!(all.len(), 5, "{all:?}");
    for record in &all {
        let id = record["id"].as_str().expect("an id");
        assert_eq!(told(record), EACH as u64, "{record}");
        let answer = service.get(&format!("/api/v1/flows/{id}/packets"));
        assert_eq!(answer.status, 200, "{record}");
        let found = read_pcap(&answer.body);
        assert_eq!(found.len(), EACH, "{record}");
        let lengths: std::collections::HashSet<u32> = found.iter().map(|packet| packet.len).collect();
        assert!(lengths.len() <= 2, "of one conversation: {record}");
        let account: Value =
            serde_json::from_str(answer.header("netrewind-answer").expect("small")).expect("JSON");
        assert_eq!((&account["packets"], &account["complete"]), (&Value::from(EACH), &Value::from(true)));
        assert!(answer.header("netrewind-completeness").is_some());
        for place in [["--store", &store], ["--url", &url]] {
            for index in [&[][..], &["--no-index"]] {
                let chosen = [&["extract"], &place[..], &["--flow", id], index].concat();
                assert_eq!(done([&chosen[..], &["-q", "-o", "-"]].concat()), answer.body, "{chosen:?}");
                let count = done([&chosen[..], &["--count"]].concat());
                assert_eq!(String::from_utf8_lossy(&count).trim(), EACH.to_string(), "{chosen:?}");
            }
        }
        let some = service.get(&format!("/api/v1/flows/{id}/packets?max_packets=3&decapsulate=true"));
        assert_eq!(read_pcap(&some.body).len(), 3);
        assert_eq!(service.get(&format!("/api/v1/packets?flow={id}")).body, answer.body);
        let count = service.get(&format!("/api/v1/packets/count?flow={id}")).json();
        assert_eq!(count["packets"], EACH, "{count}");
    }
    let unknown = format!("/api/v1/flows/{:032x}/packets", 5);
    assert_eq!(service.get(&unknown).status, 404);
    let wrong = service.get("/api/v1/packets?flow=xyz");
    assert_eq!((wrong.status, &wrong.json()["parameter"]), (400, &Value::from("flow")));
    let missing = run(["extract", "--store", &store, "--flow", &format!("{:032x}", 5), "--count"]);
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
}

#[test]
fn a_stream_is_that_of_the_conversation() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let of_ports = records(&store, &["--query", "port:8000"]);
    let id = of_ports[0]["id"].as_str().expect("an id");
    let stream = service.get(&format!("/api/v1/flows/{id}/stream")).json();
    let chunks = stream["chunks"].as_array().expect("chunks");
    assert_eq!(chunks.len(), EACH, "each datagram once: {stream}");
    // Of the two networks only one is heard.
    let of_network = records(&store, &["--query", "vni:6"]);
    let id = of_network[0]["id"].as_str().expect("an id");
    let stream = service.get(&format!("/api/v1/flows/{id}/stream")).json();
    assert_eq!(stream["chunks"].as_array().map(Vec::len), Some(EACH), "{stream}");
}

#[test]
fn what_a_search_finds_is_counted_and_handed_over_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    for (search, query) in [
        ("vni:5", "vni%3A5"),
        ("port:8000 OR protocol:arp", "port%3A8000%20OR%20protocol%3Aarp"),
        ("packets:>10", "packets%3A%3E10"),
        ("NOT vni:5", "NOT%20vni%3A5"),
    ] {
        let wanted: u64 = records(&store, &["--query", search]).iter().map(told).sum();
        let answer = service.get(&format!("/api/v1/packets?query={query}"));
        assert_eq!(read_pcap(&answer.body).len() as u64, wanted, "{search}");
        for what in ["count", "estimate"] {
            let told = service.get(&format!("/api/v1/packets/{what}?query={query}")).json();
            let count = if what == "count" { &told["packets"] } else { &told["packets_min"] };
            assert_eq!(count, &Value::from(wanted), "{search}: {told}");
        }
        let flows = service.get(&format!("/api/v1/summary?query={query}")).json();
        assert_eq!(flows["totals"]["packets"], wanted, "{search}");
        let extracted = done(["extract", "--store", &store, "--query", search, "-q", "-o", "-"]);
        assert_eq!(extracted, answer.body, "{search}");
        let count = done(["extract", "--store", &store, "--query", search, "--count"]);
        assert_eq!(String::from_utf8_lossy(&count).trim(), wanted.to_string(), "{search}");
    }
    let refused = |target: &str| {
        let answer = service.get(target);
        (answer.status, answer.json()["parameter"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused("/api/v1/packets?query=colour%3Ared"), (400, "query".to_owned()));
    assert_eq!(refused("/api/v1/packets?query=port%3A1&follow=true"), (400, "follow".to_owned()));
    let wrong = run(["extract", "--store", &store, "--query", "colour:red", "--count"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// A hint stands wherever an empty answer does, and does not where there is something.
#[test]
fn an_empty_answer_says_how_else_to_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let hint = |target: &str| service.get(target).json()["hint"].clone();
    let of_outer = hint("/api/v1/packets/count?filter=udp%20port%204789&ignore_vlan=true");
    assert_eq!((&of_outer["view"], &of_outer["certain"]), (&Value::from("outer"), &Value::from(true)));
    assert_eq!(
        of_outer["text"],
        "no packet matches on the innermost view; with view=outer there would be some"
    );
    let of_tags = hint("/api/v1/packets/count?filter=arp");
    assert_eq!((&of_tags["view"], &of_tags["ignore_vlan"]), (&Value::Null, &Value::from(true)), "{of_tags}");
    assert_eq!(hint("/api/v1/summary?filter=arp"), of_tags);
    assert_eq!(hint("/api/v1/flows?filter=arp"), of_tags);
    let answer = service.get("/api/v1/packets?filter=arp");
    let account: Value =
        serde_json::from_str(answer.header("netrewind-answer").expect("small")).expect("JSON");
    assert_eq!(account["hint"], of_tags);
    for none in ["filter=arp&ignore_vlan=true", "filter=tcp%20port%2099", "", "query=port%3A99"] {
        assert_eq!(hint(&format!("/api/v1/packets/count?{none}")), Value::Null, "{none}");
    }
    let listed = run(["flows", "--store", &store, "--filter", "arp"]);
    assert!(
        String::from_utf8_lossy(&listed.stderr).contains("with --ignore-vlan there would be some"),
        "{listed:?}"
    );
    let url = format!("http://{}", service.address);
    for place in [["--store", &store], ["--url", &url]] {
        for form in [&["--count"][..], &["-o", "-"]] {
            let output = run([&["extract"], &place[..], &["--filter", "arp"], form].concat());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let words =
                "note: no packet matches on the innermost view; with --ignore-vlan there would be some";
            assert!(said.contains(words), "{place:?}: {said}");
        }
    }
}

/// As an alert has it: its Community ID, and its time.
#[test]
fn an_alert_leads_to_its_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let service = Service::of(&store);
    let all = records(&store, &[]);
    for record in all.iter().filter(|record| record["community_id"].is_string()) {
        let id = record["community_id"].as_str().expect("text");
        let with_it = all.iter().filter(|other| other["community_id"] == record["community_id"]);
        let wanted: u64 = with_it.map(told).sum();
        let counted = done(["extract", "--store", &store, "--community-id", id, "--count"]);
        assert_eq!(String::from_utf8_lossy(&counted).trim(), wanted.to_string(), "{record}");
        assert!(records(&store, &["--community-id", id]).iter().all(|found| found["community_id"] == *id));
        // Unescaped, as a template would have it: its plus signs arrive as spaces.
        let answer = service.get(&format!("/api/v1/packets/count?community_id={id}"));
        assert_eq!(answer.json()["packets"], wanted, "{id}");
        let narrower = ["--community-id", id, "--query", "packets:>1000 OR bytes:>1G"];
        assert!(records(&store, &narrower).is_empty(), "both have to find it");
    }
    let middle = START + 20;
    let around = middle.to_string();
    let counted = done(["extract", "--store", &store, "--around", &around, "--window", "5s", "--count"]);
    let is_near = |packet: &&Packet| (middle - 5..middle + 5).contains(&packet.seconds);
    let wanted = packets().iter().filter(is_near).count();
    assert_eq!(String::from_utf8_lossy(&counted).trim(), wanted.to_string());
    let answer = service.get(&format!("/api/v1/packets/count?around={around}&window=5s"));
    assert_eq!(answer.json()["packets"], wanted);
    for (arguments, words) in [
        (&["--community-id", "1:short"][..], "--community-id"),
        (&["--around", "1h ago", "--from", "2h ago"], "cannot be used with"),
        (&["--around", "1h ago", "--window", "0s"], "--window"),
    ] {
        let refused = run([&["extract", "--store", &store, "--count"], arguments].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(words), "{arguments:?}: {said}");
    }
    for (asked, words) in
        [("community_id=1:short", "community_id"), ("window=5s", "around"), ("around=now&to=now", "around")]
    {
        let refused = service.get(&format!("/api/v1/packets/count?{asked}"));
        let problem = refused.json();
        assert_eq!(refused.status, 400, "{asked}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{problem}");
    }
}

/// Logs of Suricata and Zeek: one capture for all of their events, or one each.
#[test]
fn logs_of_other_tools_lead_to_their_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    let eve = folder.path().join("eve.json");
    let time = |second: u32| format!("{}.000000", START + second);
    let line = |second: u32, flow: u32, ends: &str| {
        format!("{{\"timestamp\":\"{}\",\"event_type\":\"alert\",\"flow_id\":{flow},{ends}}}\n", time(second))
    };
    let udp = r#""src_ip":"fd00::2","src_port":8000,"dest_ip":"fd00::1","dest_port":32780,"proto":"UDP""#;
    let echo = r#""src_ip":"10.0.0.1","dest_ip":"10.0.0.2","proto":"ICMP""#;
    std::fs::write(&eve, [line(20, 7, echo), line(40, 8, echo), line(40, 9, udp)].concat()).expect("written");
    let eve = eve.display().to_string();
    let each = folder.path().join("each");
    let each_text = each.display().to_string();
    let arguments = ["extract", "--store", &store, "--eve", &eve, "--window", "8s", "--each", &each_text];
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packets_of = |name: &str| read_pcap(&std::fs::read(each.join(name)).expect("a capture")).len();
    let echoes = |from: u32, to: u32| {
        let is_echo = |packet: &&Packet| packet.bytes[16..18] == [8, 0] && packet.bytes[27] == 1;
        packets()
            .iter()
            .filter(is_echo)
            .filter(|packet| (START + from..START + to).contains(&packet.seconds))
            .count()
    };
    assert_eq!((packets_of("1-7.pcap"), packets_of("2-8.pcap")), (echoes(12, 28), echoes(32, 48)));
    assert!(echoes(12, 28) > 0);
    // A filter sees no ports behind an extension header: neither does this, and says nothing wrong.
    assert!(each.join("3-9.pcap").exists());
    let zeek = folder.path().join("conn.log");
    let head =
        "#separator \\x09\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\n";
    let row = format!("{}\tCab12\t10.0.0.1\t8\t10.0.0.2\t0\ticmp\t20.0\n", time(20));
    std::fs::write(&zeek, format!("{head}{row}")).expect("written");
    let zeek = zeek.display().to_string();
    let counted = done(["extract", "--store", &store, "--zeek", &zeek, "--window", "8s", "--count"]);
    assert_eq!(String::from_utf8_lossy(&counted).trim(), echoes(12, 48).to_string());
    let refused = run(["extract", "--store", &store, "--eve", &zeek, "--count"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("conn.log"), "{said}");
    let refused = run(["extract", "--store", &store, "--each", &each_text]);
    assert_eq!(refused.status.code(), Some(2));
}
