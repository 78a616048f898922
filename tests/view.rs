//! The flow summary view, driven in Chromium against a store that the recorder has written.
//!
//! Needs Chromium, node and the packages of `extractor/ui` (`scripts/test` brings all of them); says so and skips where one is
//! missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::packets::{Packet, write_pcap};
use crate::support::service::Service;
use crate::support::{done, tcpdump};

const CONVERSATIONS: u32 = 60;
const START: u32 = 1_795_339_000;
const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// `extractor/ui`, where everything is there that a browser needs.
fn ui() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("extractor/ui");
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

/// Ethernet, IPv4 and TCP around some bytes.
fn tcp(at: (u32, u32), ends: [(u8, u16); 2], numbers: (u32, u32), flags: u8, payload: &[u8]) -> Packet {
    let [(source, source_port), (destination, destination_port)] = ends;
    let mut bytes = vec![2, 0, 0, 0, 0, destination, 2, 0, 0, 0, 0, source, 8, 0, 0x45, 0];
    bytes.extend(u16::try_from(40 + payload.len()).expect("short").to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, source, 10, 0, 0, destination]);
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(destination_port.to_be_bytes());
    bytes.extend(numbers.0.to_be_bytes());
    bytes.extend(numbers.1.to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    let len = u32::try_from(bytes.len()).expect("short");
    Packet { seconds: at.0, nanoseconds: at.1, len, bytes }
}

/// A request and its answer, the longer the later.
fn conversation(number: u32) -> Vec<Packet> {
    let client = (10 + (number % 7) as u8, 40_000 + number as u16);
    let server = (200 + (number % 5) as u8, 80);
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

fn recorded(folder: &Path) -> String {
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

#[test]
fn the_page_shows_what_was_recorded_and_hands_it_over() {
    let Some(ui) = ui() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let service = Service::of(&store);
    let address = format!("http://{}/", service.address);
    let output = Command::new("node")
        .current_dir(&ui)
        .args(["tests/drive.mjs", &address])
        .arg(folder.path())
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON");
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
    assert_eq!(text("much").split(' ').next(), Some(packets.to_string().as_str()), "{}", text("much"));
    let flow = tcpdump(&folder.path().join("flow.pcap"), "").expect("tcpdump reads it");
    assert_eq!(flow.len(), 7, "a conversation is one request and its answer");
}
