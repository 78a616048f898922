//! Packets taken apart by Wireshark's `sharkd`: as tshark does it, confined, and ended when it misbehaves.
//!
//! Needs `sharkd` and `tshark` (Debian's package tshark has both); says so and skips where they are missing.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::service::{Response, Service};
use crate::support::{done, run};
use crate::view::{drive, recorded, ui};

const SHARKD: &str = "/usr/bin/sharkd";
/// Files of the corpus, and packets of each, that are compared.
const CORPUS_FILES: usize = 12;
const CORPUS_PACKETS: usize = 4;
/// A process that did not end by itself is ended within this time.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

fn is_installed() -> bool {
    let is_there = [SHARKD, "/usr/bin/tshark"].iter().all(|path| Path::new(path).exists());
    if !is_there {
        eprintln!("skipped: {SHARKD} is missing: scripts/test brings it");
    }
    is_there
}

fn serving(store: &str, sharkd: &str) -> Service {
    Service::start(&["serve", "--store", store, "--sharkd", sharkd])
}

fn listed(service: &Service, selection: &str) -> Vec<Value> {
    let list = service.get(&format!("/api/v1/packets/list?{selection}")).json();
    list["packets"].as_array().expect("packets").clone()
}

fn dissected(service: &Service, packet: &Value) -> Response {
    let cursor = packet["cursor"].as_str().expect("a cursor");
    service.get(&format!("/api/v1/packets/dissection?cursor={cursor}"))
}

/// A field: its words, its place, its length.
type Placed = (String, u64, u64);

/// Fields with a place in the packet itself, in order.
fn fields_of(tree: &Value, into: &mut Vec<Placed>) {
    for field in tree.as_array().expect("fields") {
        let is_of_packet = field["source"] == 0;
        if let (true, Some(offset)) = (is_of_packet, field["offset"].as_u64()) {
            let label = field["label"].as_str().expect("words").to_owned();
            into.push((label, offset, field["length"].as_u64().expect("a length")));
        }
        fields_of(&field["fields"], into);
    }
}

/// What tshark says of a packet of a file: a line for each protocol or field.
fn pdml(capture: &Path, number: usize) -> Vec<String> {
    let only = format!("frame.number == {number}");
    let output = Command::new("tshark")
        .args(["-T", "pdml", "-Y", &only, "-r"])
        .arg(capture)
        .env("TZ", "UTC")
        .output()
        .expect("tshark runs");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

fn attribute(line: &str, name: &str) -> Option<String> {
    let value = line.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
    let unescaped = value
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#x27;", "'");
    Some(unescaped.replace("&amp;", "&"))
}

/// Fields with words and a place below the protocols with these names.
fn fields_by_tshark(lines: &[String], protocols: &[&str]) -> Vec<Placed> {
    let mut is_wanted = false;
    let mut fields = Vec::new();
    for line in lines {
        let is_proto = line.starts_with("<proto ");
        if is_proto {
            // What begins where the frame does and is not Ethernet lies in reassembled bytes, not in those of the packet.
            let is_of_frame = |name: &str| name == "eth" || !line.contains(" pos=\"0\"");
            is_wanted =
                attribute(line, "name").is_some_and(|name| protocols.contains(&&*name) && is_of_frame(&name));
        }
        let is_field = is_proto || line.starts_with("<field ");
        if !is_field || !is_wanted || line.contains(" hide=\"yes\"") {
            continue;
        }
        let words = attribute(line, "showname").or_else(|| attribute(line, "show")).unwrap_or_default();
        let number =
            |name| attribute(line, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        if number("size") > 0 && !words.starts_with('[') {
            fields.push((words, number("pos"), number("size")));
        }
    }
    fields
}

fn protocols_by_tshark(lines: &[String]) -> Vec<String> {
    let protos = lines.iter().filter(|line| line.starts_with("<proto "));
    let names = protos.filter_map(|line| attribute(line, "name"));
    names.filter(|name| !["geninfo", "fake-field-wrapper", "data"].contains(&&**name)).collect()
}

fn protocols_of(answer: &Value) -> Vec<String> {
    let layers = answer["tree"].as_array().expect("layers").iter();
    // What no dissector takes is no protocol in PDML.
    layers
        .filter_map(|layer| layer["filter"].as_str())
        .filter(|name| *name != "data")
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_packet_is_taken_apart_as_tshark_does_it() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let service = serving(&store, SHARKD);
    assert_eq!(service.get("/healthz").json()["dissects"], true);
    // The first conversation, of which all that came before is there for both.
    let packets = listed(&service, "filter=port+40000");
    let capture = folder.path().join("first.pcap");
    done(["extract", "--store", &store, "--filter", "port 40000", "-o", &capture.display().to_string()]);
    assert_eq!(packets.len(), 7);
    for (at, packet) in packets.iter().enumerate() {
        let response = dissected(&service, packet);
        let answer = response.json();
        assert_eq!((response.status, &answer["given_packets"]), (200, &json!(at + 1)), "{answer}");
        assert_eq!(answer["packet"]["summary"], packet["summary"]);
        let lines = pdml(&capture, at + 1);
        assert_eq!(protocols_of(&answer), protocols_by_tshark(&lines), "packet {}", at + 1);
        let mut fields = Vec::new();
        fields_of(&answer["tree"], &mut fields);
        let wanted = fields_by_tshark(&lines, &["eth", "ip", "tcp", "http"]);
        assert!(wanted.len() > 20, "{lines:?}");
        for field in wanted {
            assert!(fields.contains(&field), "packet {}: {field:?} of {fields:?}", at + 1);
        }
    }
    let request = dissected(&service, &packets[3]).json();
    let text = request.to_string();
    assert!(
        text.contains("Host: www.example.com") && text.contains("http.request.method == \\\"GET\\\""),
        "{text}"
    );
}

/// Protocols of packets of many kinds, where there is a corpus.
#[test]
fn protocols_of_a_corpus_are_those_of_tshark() {
    let Some(corpus) = std::env::var_os("NETREWIND_CORPUS").map(PathBuf::from).filter(|_| is_installed())
    else {
        eprintln!("skipped: NETREWIND_CORPUS is not set, or sharkd is missing");
        return;
    };
    let mut files: Vec<PathBuf> = crate::support::files_below(&corpus);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pcap"));
    files.sort();
    let step = (files.len() / CORPUS_FILES).max(1);
    let (mut compared, mut alike) = (0, 0);
    for file in files.iter().step_by(step).take(CORPUS_FILES) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store").display().to_string();
        if !run(["import", "--store", &store, &file.display().to_string()]).status.success() {
            continue;
        }
        let capture = folder.path().join("all.pcap");
        if !run(["extract", "--store", &store, "-q", "-o", &capture.display().to_string()]).status.success() {
            continue;
        }
        let service = serving(&store, SHARKD);
        let packets = listed(&service, "limit=1000");
        for at in (0..packets.len()).step_by((packets.len() / CORPUS_PACKETS).max(1)).take(CORPUS_PACKETS) {
            let response = dissected(&service, &packets[at]);
            assert_eq!(response.status, 200, "{} {}: {}", file.display(), at + 1, response.json());
            compared += 1;
            // What a protocol is may depend on packets longer ago.
            let same = protocols_of(&response.json()) == protocols_by_tshark(&pdml(&capture, at + 1));
            alike += usize::from(same);
            if !same {
                eprintln!("{} {}: {:?}", file.display(), at + 1, protocols_of(&response.json()));
            }
        }
    }
    assert!(compared > 10 && alike * 10 >= compared * 9, "{alike} of {compared} are alike");
}

/// A program for x86-64 that makes these instructions, forever.
fn program(folder: &Path, name: &str, code: &[u8]) -> String {
    let mut elf = vec![0; 120];
    let put = |elf: &mut Vec<u8>, at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(&mut elf, 0, b"\x7fELF\x02\x01\x01");
    put(&mut elf, 16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(&mut elf, 24, &0x40_0078_u64.to_le_bytes());
    put(&mut elf, 32, &64_u64.to_le_bytes());
    put(&mut elf, 52, &[64, 0, 56, 0, 1, 0]);
    put(&mut elf, 64, &[1, 0, 0, 0, 5, 0, 0, 0]);
    put(&mut elf, 80, &0x40_0000_u64.to_le_bytes());
    put(&mut elf, 88, &0x40_0000_u64.to_le_bytes());
    let length = (120 + code.len()) as u64;
    put(&mut elf, 96, &length.to_le_bytes());
    put(&mut elf, 104, &length.to_le_bytes());
    put(&mut elf, 112, &4096_u64.to_le_bytes());
    elf.extend(code);
    let path = folder.join(name);
    let mut file = std::fs::File::create(&path).expect("created");
    file.write_all(&elf).expect("written");
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).expect("executable");
    path.display().to_string()
}

/// Processes that run this program.
fn processes_of(program: &str) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    processes
        .filter(|path| std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe == Path::new(program)))
        .collect()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_dissector_that_misbehaves_is_an_error_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    // poll(NULL, 0, -1), again and again; nothing at all, again and again; ud2.
    let waiting =
        [0x31, 0xff, 0x31, 0xf6, 0xba, 0xff, 0xff, 0xff, 0xff, 0xb8, 7, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xee];
    let programs = [
        (program(folder.path(), "waits", &waiting), "gave no answer within 10 s"),
        (program(folder.path(), "spins", &[0xeb, 0xfe]), "ended without an answer"),
        (program(folder.path(), "dies", &[0x0f, 0x0b]), "ended without an answer"),
        ("/usr/bin/false".to_owned(), "ended without an answer"),
        ("/usr/bin/cat".to_owned(), "cannot be read"),
        ("/usr/bin/yes".to_owned(), "more than"),
    ];
    for (program, words) in &programs {
        let service = serving(&store, program);
        let packets = listed(&service, "limit=1");
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| dissected(&service, &packets[0]));
            if program.ends_with("waits") {
                is_confined(program);
            }
            let response = asked.join().expect("an answer");
            let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(
                response.status == 500 && detail.contains(words),
                "{program}: {} {detail}",
                response.status
            );
        });
        assert!(begun.elapsed() < ENDED_WITHIN, "{program}: {:?}", begun.elapsed());
        crate::support::link::wait_until("its process has ended", || processes_of(program).is_empty());
        assert_eq!(
            service.get("/api/v1/packets/count").json()["packets"],
            420,
            "{program}: all else goes on"
        );
    }
    for path in ["/nonexistent/sharkd", "/etc/passwd"] {
        let refused = run(["serve", "--store", &store, "--listen", "127.0.0.1:0", "--sharkd", path]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(&format!("--sharkd {path}")), "{said}");
    }
    let service = Service::of(&store);
    let packets = listed(&service, "limit=1");
    assert_eq!(dissected(&service, &packets[0]).status, 404, "it is not switched on");
    assert_eq!(service.get("/healthz").json()["dissects"], false);
}

/// The process has no capabilities, few system calls, little time and memory.
fn is_confined(program: &str) {
    crate::support::link::wait_until("it runs", || !processes_of(program).is_empty());
    let process = processes_of(program).remove(0);
    let read = |name: &str| std::fs::read_to_string(process.join(name)).expect("a file of proc");
    let status = read("status");
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let limits = read("limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.trim_start_matches(name).split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!(limit("Max cpu time"), "5", "{limits}");
    assert_eq!(limit("Max address space"), (1_u64 << 30).to_string(), "{limits}");
    assert_eq!(
        (limit("Max file size"), limit("Max core file size")),
        ("0".to_owned(), "0".to_owned()),
        "{limits}"
    );
}

#[test]
fn tokens_and_their_filters_apply() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let tokens = folder.path().join("tokens.toml").display().to_string();
    let token = |name: &str, options: &[&str]| {
        let output = done(["token", "add", name, "--tokens", &tokens].iter().chain(options));
        format!("Bearer {}", String::from_utf8(output).expect("a token").trim())
    };
    let all = token("all", &["--scope", "extract"]);
    let some = token("some", &["--scope", "extract", "--filter", "src port 40000"]);
    let flows = token("flows", &["--scope", "flows"]);
    let service = Service::start(&["serve", "--store", &store, "--tokens", &tokens, "--sharkd", SHARKD]);
    let get = |path: &str, token: &str| {
        Response::read(service.send("GET", path, &[("Authorization", token)], ""), false)
    };
    let list = get("/api/v1/packets/list?filter=port+40000", &all).json();
    let cursor =
        |list: &Value, at: usize| list["packets"][at]["cursor"].as_str().expect("a cursor").to_owned();
    let path = |cursor: &str| format!("/api/v1/packets/dissection?filter=port+40000&cursor={cursor}");
    let whole = get(&path(&cursor(&list, 3)), &all).json();
    assert_eq!(whole["given_packets"], 4, "{whole}");
    let own = get("/api/v1/packets/list?filter=port+40000", &some).json();
    let restricted = get(&path(&cursor(&own, 2)), &some).json();
    assert_eq!(restricted["given_packets"], 3, "the server's packets are not theirs: {restricted}");
    assert_eq!(restricted["packet"]["summary"], whole["packet"]["summary"]);
    // The second packet is the server's.
    assert_eq!(get(&path(&cursor(&list, 1)), &some).status, 404);
    assert_eq!(get(&path(&cursor(&list, 3)), &flows).status, 403);
    assert_eq!(service.get(&path(&cursor(&list, 3))).status, 401);
}

#[test]
fn the_page_shows_a_packets_protocols_and_their_bytes() {
    let Some(ui) = ui().filter(|_| is_installed()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path());
    let service = serving(&store, SHARKD);
    let failing = ["serve", "--store", &store, "--sharkd", "/usr/bin/false", "--no-audit"];
    let failing = Service::start(&failing);
    let address = |service: &Service| format!("http://{}/", service.address);
    let seen = drive(&ui, "dissect", &address(&service), folder.path(), &[&address(&failing)]);
    assert_eq!(seen["layers"].as_array().map(Vec::len), Some(5), "{seen}");
    assert_eq!(seen["port"], "00 50", "{seen}");
    assert_eq!(seen["host"], "48 6f 73 74", "{seen}");
    assert!(seen["by_byte"].as_str().unwrap_or_default().contains("Time to Live"), "{seen}");
    assert!(seen["failed"].as_str().unwrap_or_default().contains("sharkd"), "{seen}");
}
