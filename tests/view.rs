//! The flow summary view, driven in Chromium against a store that the recorder has written.
//!
//! Needs Chromium, node and the packages of `extractor/http/ui` (`scripts/test` brings all of them); says so and skips where one is
//! missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::conversations;
use crate::places;
use crate::sign_in::{Issuer, Key};
use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::service::Service;
use crate::support::{done, files_below, tcpdump};

const CONVERSATIONS: u32 = 60;
const START: u32 = 1_795_339_000;
/// Long enough to be seen in a series of seconds.
const NOT_RECORDED_FOR: Duration = Duration::from_secs(4);
const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// `extractor/http/ui`, where everything is there that a browser needs.
pub fn ui() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("extractor/http/ui");
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    let needed =
        [folder.join("dist/index.html"), folder.join("node_modules/playwright-core"), chromium.into()];
    for path in needed {
        if !path.exists() {
            eprintln!("skipped: {} is missing: scripts/test brings it", path.display());
            return None;
        }
    }
    Some(folder)
}

/// A request and its answer, the longer the later.
fn conversation(number: u32) -> Vec<Packet> {
    let client = ([10, 0, 0, 10 + (number % 7) as u8], 40_000 + number as u16);
    let server = ([10, 0, 0, 200 + (number % 5) as u8], 80);
    let answer =
        [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), "rewound ".repeat(number as usize).as_bytes()].concat();
    let (there, back) = ([client, server], [server, client]);
    let said = REQUEST.len() as u32;
    let heard = answer.len() as u32;
    let at = |step: u32| (START + number * 10, step * 1_000_000);
    vec![
        tcp(at(0), there, (100, 0), 0x02, b""),
        tcp(at(1), back, (500, 101), 0x12, b""),
        tcp(at(2), there, (101, 501), 0x10, b""),
        tcp(at(3), there, (101, 501), 0x18, REQUEST),
        tcp(at(4), back, (501, 101 + said), 0x18, &answer),
        tcp(at(5), there, (101 + said, 501 + heard), 0x11, b""),
        tcp(at(6), back, (501 + heard, 102 + said), 0x11, b""),
    ]
}

pub fn recorded(folder: &Path) -> String {
    let packets: Vec<Packet> = (0..CONVERSATIONS).flat_map(conversation).collect();
    let capture = folder.join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let store = folder.join("store").display().to_string();
    done([
        "record",
        "--store",
        &store,
        "--budget",
        "1GiB",
        "--replay",
        &capture.display().to_string(),
        "--replay-speed",
        "max",
    ]);
    done(["index", "--store", &store]);
    store
}

/// What a driver has seen, having driven the page to its end.
pub fn drive(ui: &Path, driver: &str, address: &str, folder: &Path, arguments: &[&str]) -> Value {
    let output = Command::new("node")
        .current_dir(ui)
        .args([&format!("tests/{driver}.mjs"), address])
        .arg(folder)
        .args(arguments)
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // For whoever wants to look at the pictures.
    if let Some(kept) = std::env::var_os("NETREWIND_PICTURES") {
        for picture in files_below(folder).iter().filter(|path| path.extension().is_some_and(|e| e == "png"))
        {
            let name = picture.file_name().expect("a name").to_string_lossy();
            let _ = std::fs::copy(picture, Path::new(&kept).join(format!("{driver}-{name}")));
        }
    }
    serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON")
}

#[test]
fn the_page_shows_what_was_recorded_and_hands_it_over() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let service = Service::of(&store);
    let seen = drive(&ui, "drive", &format!("http://{}/", service.address), folder.path(), &[]);
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();

    let totals = text("totals");
    assert!(totals.contains(&format!("{} packets", CONVERSATIONS * 7)), "{totals}");
    assert!(totals.contains(&format!("{CONVERSATIONS} conversations")), "{totals}");
    let lines = done([
        "flows",
        "--store",
        &store,
        "--query",
        "http_host:example.com bytes:>500",
        "--limit",
        "1000",
        "--format",
        "json",
    ]);
    let found = String::from_utf8_lossy(&lines).lines().count();
    assert!(0 < found && found < CONVERSATIONS as usize, "{found}");
    assert!(text("found").contains(&format!("{found} conversations")), "{} but {found}", text("found"));
    assert!(text("problem").contains("prot"), "{}", text("problem"));
    let stream = text("stream");
    assert!(stream.contains("Host: www.example.com") && stream.contains("200 OK"), "{stream}");
    assert!(stream.find("GET /").expect("asked") < stream.find("rewound").expect("answered"), "{stream}");

    let expected = folder.path().join("expected.pcap");
    done(["extract", "--store", &store, "--filter", &text("filter"), "-o", &expected.display().to_string()]);
    let downloaded = folder.path().join("download.pcap");
    let bytes = |path: &Path| std::fs::read(path).expect("read");
    assert_eq!(bytes(&downloaded), bytes(&expected), "the page hands over what the command line does");
    let packets = tcpdump(&downloaded, "tcp").expect("tcpdump reads it").len();
    assert_eq!(text("much"), packets.to_string(), "what the page counts is what it hands over");
    let held = Path::new(&store).join("cases/INC-2041.pcap");
    assert_eq!(bytes(&held), bytes(&expected), "it holds what it shows");
    assert!(text("held").contains(&format!("{packets} packets are held")), "{}", text("held"));
    let vouched = seen["vouched"]["files"][0].as_str().unwrap_or_default();
    assert!(vouched.ends_with(".pcapng"), "{seen}");
    assert_eq!(seen["vouched"]["files"][1], format!("{vouched}.manifest.json"), "{seen}");
    done(["verify", &folder.path().join("vouched").join(vouched).display().to_string()]);
    let flow = tcpdump(&folder.path().join("flow.pcap"), "").expect("tcpdump reads it");
    assert_eq!(flow.len(), 7, "a conversation is one request and its answer");
}

/// By the page's own words, by axe in every state, and over a slow line.
#[test]
fn an_analyst_works_with_the_page() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let service = Service::of(&store);
    let seen = drive(&ui, "work", &format!("http://{}/", service.address), folder.path(), &[]);
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(seen["nodes"], 12, "seven clients and five servers: {seen}");
    let of = |name: &str, words: &str| seen[name].to_string().matches(words).count();
    assert_eq!(
        (of("services", "http (tcp 80)"), of("sankey", "Client 10."), of("sankey", "Server 10.")),
        (1, 7, 5),
        "{seen}"
    );
    assert_eq!(seen["by_keyboard"], "tcp port 80", "{seen}");
    let capture = folder.path().join("capture.pcap");
    let packets = tcpdump(&capture, "").expect("tcpdump reads it");
    let in_hex = |packet: &Packet| {
        let digits: Vec<String> = packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.chunks(16).map(|line| line.join(" ")).collect::<Vec<_>>()
    };
    // The second page begins with the 101st, and the fourth row was opened.
    let dump = text("bytes");
    assert!(in_hex(&packets[103]).iter().all(|line| dump.contains(line)), "{dump}");
    assert!(text("first").contains("[SYN] seq 100 "), "{seen}");
    assert!(seen["opened"]["from"].as_str().unwrap_or_default().starts_with("2026-11-22T09:16:40"), "{seen}");
    assert!(text("host").contains("First seen\n2026-11-22 09:1"), "{seen}");
    assert_eq!(text("zone"), "UTC");
    eprintln!("over 50 kB/s data came {} ms after the page", seen["slow_ms"]);
}

/// A datagram between two of hundreds of hosts, all with long addresses.
fn datagram(number: u16) -> Packet {
    let address = |network: u16, host: u16| {
        let parts = [0x2001, 0xdb8, network, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1000 + host];
        parts.map(u16::to_be_bytes).concat()
    };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 108, 17, 64];
    bytes.extend(address(0x100 + number % 40, number));
    bytes.extend(address(0x200 + number % 3, number % 50));
    bytes.extend([[0x9c, 0x40], [0x13, 0x88], [0, 108], [0, 0]].concat());
    bytes.resize(bytes.len() + 100, 0);
    let len = u32::try_from(bytes.len()).expect("short");
    Packet { seconds: START + u32::from(number), nanoseconds: 0, len, bytes }
}

#[test]
fn a_graph_of_hundreds_of_hosts_says_something() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &(0..300).map(datagram).collect::<Vec<_>>())).expect("written");
    let (store, capture) = (folder.path().join("store").display().to_string(), capture.display().to_string());
    done(["import", "--store", &store, &capture]);
    let service = Service::of(&store);
    let seen = drive(&ui, "crowd", &format!("http://{}/", service.address), folder.path(), &[]);
    let nodes = seen["desk-hosts"]["nodes"].as_u64().expect("a number");
    assert!((40..=60).contains(&nodes), "each network is a node: {seen}");
    assert!(seen["phone-services"]["labels"].to_string().contains("udp 5000"), "{seen}");
    assert!(seen["desk-hosts"]["labels"].to_string().contains("::/"), "{seen}");
}

#[test]
fn times_are_those_of_the_browsers_zone() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::of(&recorded(folder.path()));
    let seen = drive(&ui, "zone", &format!("http://{}/", service.address), folder.path(), &[]);
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    assert!(text("first").starts_with("2026-11-22 10:16:40"), "{seen}");
    assert!(text("narrowed").starts_with("2026-11-22 10:20:00"), "{seen}");
}

#[test]
fn where_nothing_is_stored_the_page_says_what_to_run() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("empty.pcap");
    std::fs::write(&capture, write_pcap(1, &[])).expect("written");
    let (store, capture) = (folder.path().join("store").display().to_string(), capture.display().to_string());
    done(["import", "--store", &store, &capture]);
    let service = Service::of(&store);
    let seen = drive(&ui, "empty", &format!("http://{}/", service.address), folder.path(), &[]);
    let welcome = seen["welcome"].as_str().unwrap_or_default();
    assert!(welcome.contains(&format!("netrewind import --store {store} capture.pcap")), "{welcome}");
}

/// A certificate for localhost, and its key, in files.
fn certificate(folder: &Path) -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("written");
    std::fs::write(&certificate, pair.cert.pem()).expect("written");
    (certificate.display().to_string(), key.display().to_string())
}

#[test]
fn whoever_has_a_token_signs_in_and_out() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let tokens = folder.path().join("tokens.toml").display().to_string();
    let token = |name: &str, scopes: &str| {
        let output = done(["token", "add", name, "--tokens", &tokens, "--scope", scopes]);
        String::from_utf8(output).expect("a token").trim().to_owned()
    };
    let (all, flows) = (token("all", "admin"), token("flows", "flows"));
    let (certificate, key) = certificate(folder.path());
    let service = Service::start(&[
        "serve",
        "--store",
        &store,
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--tokens",
        &tokens,
    ]);
    let address = format!("https://localhost:{}/", service.address.port());
    let seen = drive(&ui, "sign_in", &address, folder.path(), &[&all, &flows]);
    assert!(!seen["refusal"].as_str().unwrap_or_default().is_empty(), "{seen}");
    assert!(seen["copied"].as_str().unwrap_or_default().contains("Authorization: Bearer $TOKEN"), "{seen}");
    assert_eq!(seen["status"], "Not recording");
    assert_eq!(seen["flows"], 50, "{seen}");
}

#[test]
fn whoever_has_an_account_at_an_issuer_signs_in_there() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let (tokens, secret) = (folder.path().join("tokens.toml"), folder.path().join("secret"));
    std::fs::write(&tokens, "[[group]]\nname = \"soc\"\nscopes = [\"flows\", \"extract\"]\n")
        .expect("written");
    std::fs::write(&secret, "s3cret & more\n").expect("written");
    let issuer = Issuer::start();
    let signing = Key::new(folder.path(), "ES256", "one");
    issuer.publish(&[&signing]);
    // Of those who sign in the first has rights, and the second none.
    let visits = std::sync::atomic::AtomicU32::new(0);
    issuer.issue(move |mut claims| {
        if visits.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            claims["groups"] = serde_json::json!(["everybody"]);
        }
        signing.token(&claims)
    });
    let (certificate, key) = certificate(folder.path());
    let [tokens, secret] = [&tokens, &secret].map(|path| path.to_str().expect("text"));
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let oidc = [
        "--oidc-issuer",
        &issuer.url(),
        "--oidc-client-id",
        "netrewind",
        "--oidc-client-secret-file",
        secret,
    ];
    let service =
        Service::start(&[&["serve", "--store", &store, "--tokens", tokens], &tls[..], &oidc].concat());
    let address = format!("https://localhost:{}/", service.address.port());
    let seen = drive(&ui, "oidc", &address, folder.path(), &[&issuer.url()]);
    assert_eq!(
        (&seen["filter"], &seen["counted"]),
        (&Value::from("tcp port 80"), &Value::from(420)),
        "{seen}"
    );
    assert!(seen["refused"].as_str().unwrap_or_default().contains("alice@example.com"), "{seen}");
}

#[test]
fn hosts_stand_where_they_are_in_the_world() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = places::store(folder.path());
    let file = folder.path().join("city.mmdb");
    places::write(&file, &places::world());
    let service = Service::start(&["serve", "--store", &store, "--geoip", &file.display().to_string()]);
    let seen = drive(&ui, "map", &format!("http://{}/", service.address), folder.path(), &[]);
    let hosts = seen["hosts"].to_string();
    assert!(hosts.contains("GB ↑") && hosts.contains("London, United Kingdom"), "{hosts}");
    // Tokyo is 140 of the map's 360 degrees east of London, and 16 degrees south of it.
    let number = |pointer: &str| seen.pointer(pointer).and_then(Value::as_f64).expect("a number");
    let degree = (number("/marks/land/1") - number("/marks/land/0")) / 360.0;
    let (mut west, mut east) = (
        [0, 1].map(|n| number(&format!("/marks/marks/0/{n}"))),
        [0, 1].map(|n| number(&format!("/marks/marks/1/{n}"))),
    );
    if west[0] > east[0] {
        std::mem::swap(&mut west, &mut east);
    }
    let [right, down] = [0, 1].map(|n| (east[n] - west[n]) / degree);
    assert!((right - 139.8).abs() < 6.0 && (down - 15.8).abs() < 4.0, "{right} {down}: {seen}");
    assert_eq!(seen["filter"], "host 203.0.113.7", "a click on Tokyo");
    assert!(seen["empty"].as_str().unwrap_or_default().contains("--geoip"), "{seen}");
}

#[test]
fn times_without_a_recording_are_marked() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let packets: Vec<Packet> = conversation(1);
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let (store, capture) = (folder.path().join("store").display().to_string(), capture.display().to_string());
    let record = || {
        done(["record", "--store", &store, "--budget", "1GiB", "--replay", &capture, "--replay-now"]);
    };
    record();
    std::thread::sleep(NOT_RECORDED_FOR);
    record();
    let service = Service::of(&store);
    let seen = drive(&ui, "gaps", &format!("http://{}/", service.address), folder.path(), &[]);
    assert!(seen["totals"].as_str().unwrap_or_default().contains("1 gap"), "{seen}");
    assert!(seen["title"].as_str().unwrap_or_default().starts_with("Nothing was recorded from "), "{seen}");
    assert_eq!((&seen["in_gap"], &seen["beside"]), (&Value::Bool(true), &Value::Bool(false)), "{seen}");
}

#[test]
fn the_page_says_where_packets_are_and_hands_conversations_over() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = conversations::store(folder.path());
    let service = Service::of(&store);
    let seen = drive(&ui, "hint", &format!("http://{}/", service.address), folder.path(), &[]);
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    assert!(text("hint").contains("Ignoring VLAN tags, there would be some."), "{seen}");
    assert_eq!(text("there"), "20", "a filter sees no UDP behind an extension header: {seen}");
    let packets = |name: &str| {
        let file = std::fs::read(folder.path().join(name)).expect("a download");
        crate::support::packets::read_pcap(&file).len().to_string()
    };
    assert_eq!(packets("found.pcap"), text("found"), "{seen}");
    assert!(
        text("found_at").contains("query=packets") && text("command").contains("query=packets"),
        "{seen}"
    );
    assert_eq!(packets("flow.pcap"), "10", "{seen}");
    let is_of_flow = |name: &str| text(name).contains("/flows/") && text(name).contains("/packets?");
    assert!(is_of_flow("flow_at") && is_of_flow("flow_command"), "{seen}");
    assert!(text("stream").contains("the same in both"), "{seen}");
    assert_eq!(text("narrowed"), "10", "of two networks one: {seen}");
}
