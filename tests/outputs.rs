//! Files of answers: compressed, cut and named; tables and figures on a terminal.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::served::store;
use crate::support::{done, files_below, netrewind, run};

const PACKETS: usize = 5_000;

struct Scene {
    folder: tempfile::TempDir,
    store: String,
}

impl Scene {
    /// A store of many packets with payloads of this length.
    fn new(payload_bytes: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), PACKETS, payload_bytes);
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn extract(&self, name: &str, flags: &[&str]) -> PathBuf {
        let path = self.path(name);
        let text = path.display().to_string();
        done(
            ["extract", "--quiet", "--store", &self.store, "-o", &text]
                .into_iter()
                .chain(flags.iter().copied()),
        );
        path
    }

    /// What the command prints on a terminal of so many columns, from this folder.
    fn on_terminal(&self, columns: u32, arguments: &str, environment: &str) -> String {
        let command = format!(
            "stty cols {columns} rows 50; cd {}; {environment} {} {arguments}",
            self.folder.path().display(),
            env!("CARGO_BIN_EXE_netrewind")
        );
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .expect("script runs: scripts/install test");
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    }
}

fn output_of(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Packets that tshark finds in a file.
fn tshark_count(path: &Path) -> usize {
    let output = output_of("tshark", &["-n", "-r", &text(path), "-T", "fields", "-e", "frame.number"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn a_compressed_answer_is_the_same_packets_to_every_tool() {
    let scene = Scene::new(300);
    for format in ["pcap", "pcapng"] {
        let plain = std::fs::read(scene.extract(&format!("plain.{format}"), &[])).expect("a file");
        for (ending, program) in [("gz", "gzip"), ("zst", "zstd")] {
            let path = scene.extract(&format!("x.{format}.{ending}"), &[]);
            let unpacked = output_of(program, &["-dc", &text(&path)]);
            assert!(unpacked.status.success(), "{path:?}");
            assert!(unpacked.stdout == plain, "{path:?}: other bytes than uncompressed");
            assert!(std::fs::metadata(&path).expect("a file").len() < plain.len() as u64 / 2, "{path:?}");
            // Of several frames tshark reads the first.
            assert_eq!(tshark_count(&path), PACKETS, "{path:?}");
            let told = output_of("capinfos", &["-c", "-M", &text(&path)]);
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.contains(&format!(" {PACKETS}")), "{path:?}: {told}");
        }
    }
    // What is imported again is what was extracted.
    let other = text(&scene.path("other"));
    done(["import", "--store", &other, &text(&scene.path("x.pcap.zst"))]);
    assert_eq!(
        String::from_utf8_lossy(&done(["extract", "--count", "--store", &other])).trim(),
        PACKETS.to_string()
    );
    // A manifest vouches for the file as it lies there.
    let path = scene.extract("evidence.pcap.gz", &["--manifest"]);
    done(["verify", &text(&path)]);
    // An answer that follows ends its frame when it ends.
    let path = scene.extract("followed.pcap.zst", &["--follow", "--to", "1h ago"]);
    assert_eq!(tshark_count(&path), PACKETS);
}

#[test]
fn a_snaplen_cuts_as_editcap_does() {
    let scene = Scene::new(300);
    let whole = scene.extract("whole.pcap", &[]);
    let parts = |packets: Vec<Packet>| {
        packets.into_iter().map(|packet| (packet.at_ns(), packet.len, packet.bytes)).collect::<Vec<_>>()
    };
    for snaplen in ["1", "60", "341", "342", "400"] {
        let rival = scene.path("rival.pcap");
        let cut = output_of("editcap", &["-F", "nsecpcap", "-s", snaplen, &text(&whole), &text(&rival)]);
        assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
        let ours = scene.extract("ours.pcap", &["--snaplen", snaplen]);
        let (ours, rival) = (std::fs::read(ours).expect("a file"), std::fs::read(rival).expect("a file"));
        let (ours, rival) = (parts(read_pcap(&ours)), parts(read_pcap(&rival)));
        assert_eq!(ours.len(), PACKETS);
        assert!(ours == rival, "--snaplen {snaplen}");
    }
    let ours = scene.extract("ours.pcapng", &["--snaplen", "60"]);
    let ours = text(&ours);
    let fields = ["-n", "-r", &ours, "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len"];
    let told = String::from_utf8_lossy(&output_of("tshark", &fields).stdout).into_owned();
    assert!(told.lines().count() == PACKETS && told.lines().all(|line| line == "60\t342"), "{told:.200}");
    let all = scene.extract("all.pcap", &["--snaplen", "0"]);
    assert!(std::fs::read(all).expect("a file") == std::fs::read(whole).expect("a file"));
    // What was cut says so to whoever checks it.
    scene.extract("cut.pcap", &["--snaplen", "60", "--manifest"]);
    let manifest = std::fs::read_to_string(scene.path("cut.pcap.manifest.json")).expect("a manifest");
    assert!(manifest.contains("\"snaplen\": 60"), "{manifest}");
    let refused = run(["extract", "--store", &scene.store, "--count", "--snaplen", "60"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn without_a_name_an_answer_goes_to_a_pipe_or_names_its_file() {
    let scene = Scene::new(10);
    let piped = done(["extract", "--quiet", "--store", &scene.store]);
    assert!(piped == std::fs::read(scene.extract("x.pcap", &[])).expect("a file"));
    let flags = "--from 2023-11-14T22:13:20Z --to 2023-11-14T22:14:00Z --filter 'udp and dst port 53'";
    let told = scene.on_terminal(80, &format!("extract --store {} {flags}", scene.store), "");
    let name = "netrewind-2023-11-14T221320Z-to-2023-11-14T221400Z-udp-and-dst-port-53";
    assert!(told.contains(&format!("{name}.pcap:")), "{told}");
    assert_eq!(read_pcap(&std::fs::read(scene.path(&format!("{name}.pcap"))).expect("a file")).len(), 4_000);
    // Another one replaces none.
    scene.on_terminal(80, &format!("extract --store {} {flags}", scene.store), "");
    assert!(scene.path(&format!("{name}-2.pcap")).exists());
    let refused = run(["extract", "--store", &scene.store, "--manifest"]);
    assert_eq!(refused.status.code(), Some(2), "a pipe has no name");
}

/// An Ethernet frame with UDP from one address to another.
fn datagram(from: IpAddr, to: IpAddr, port: u16) -> Vec<u8> {
    let payload = [b'x'; 900];
    let length = u16::try_from(8 + payload.len()).expect("short");
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([8, 0, 0x45, 0]);
            bytes.extend((length + 20).to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
            bytes.extend(from.octets().into_iter().chain(to.octets()));
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([17, 64]);
            bytes.extend(from.octets().into_iter().chain(to.octets()));
        }
        _ => panic!("of one version"),
    }
    bytes.extend([port, 53, length, 0].into_iter().flat_map(u16::to_be_bytes));
    bytes.extend(payload);
    bytes
}

/// A store of a conversation between each two of these addresses, a second apart.
fn conversations(scene: &Scene, ends: &[(&str, &str)]) -> String {
    let packet = |(number, (from, to)): (usize, &(&str, &str))| {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let number = u16::try_from(number).expect("few");
        let bytes = datagram(address(from), address(to), 50_000 + number);
        Packet { seconds: 1_700_000_000 + u32::from(number), nanoseconds: 0, len: bytes.len() as u32, bytes }
    };
    let packets: Vec<Packet> = ends.iter().enumerate().map(packet).collect();
    std::fs::write(scene.path("flows.pcap"), write_pcap(1, &packets)).expect("written");
    let store = text(&scene.path("flows"));
    done(["import", "--store", &store, &text(&scene.path("flows.pcap"))]);
    store
}

#[test]
fn flows_fit_the_terminal_and_break_no_address() {
    let scene = Scene::new(10);
    let (long, longer) = ("2001:db8:aaaa:bbbb:cccc:dddd:eeee:1", "2001:db8:1111:2222:3333:4444:5555:6666");
    let store = conversations(&scene, &[("10.1.2.3", "192.168.100.200"), (long, longer)]);
    for columns in [80, 100, 200] {
        let told = scene.on_terminal(columns, &format!("flows --store {store}"), "NO_COLOR=1");
        for end in
            ["10.1.2.3:50000", "192.168.100.200:53", &format!("[{long}]:50001"), &format!("[{longer}]:53")]
        {
            assert!(told.contains(end), "{columns}: {end}: {told}");
        }
        let table: Vec<&str> = told.lines().take_while(|line| !line.contains("times are of")).collect();
        let widest = table.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns as usize), "{columns}: {told}");
        assert!(told.contains("22:13:20") && told.contains("times are of 2023-11-14"), "{told}");
        assert_eq!(columns < 150, told.contains("no room for"), "{columns}: {told}");
        assert!(!told.contains('\u{1b}'), "{told}");
    }
    // Colours where they help, and nowhere else.
    assert!(scene.on_terminal(80, &format!("flows --store {store}"), "TERM=xterm").contains("\u{1b}[1m"));
    assert!(!scene.on_terminal(80, &format!("flows --store {store}"), "TERM=dumb").contains('\u{1b}'));
    let piped = String::from_utf8(done(["flows", "--store", &store])).expect("text");
    assert!(!piped.contains('\u{1b}') && piped.contains("2023-11-14T22:13:20.000000000Z"), "{piped}");
    assert!(piped.contains("REMARKS") && piped.lines().all(|line| !line.contains("KiB")), "{piped}");
    assert_eq!(
        done(["flows", "--store", &store, "--json"]),
        done(["flows", "--store", &store, "--format", "json"])
    );
}

#[test]
fn status_tells_interfaces_budget_and_what_was_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (text(&folder.path().join("store")), text(&folder.path().join("x.pcap")));
    let packet = |i: u32| Packet { seconds: 1_700_000_000 + i, nanoseconds: 0, len: 60, bytes: vec![0; 60] };
    let packets: Vec<Packet> = (0..7).map(packet).collect();
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let input = std::fs::File::open(&capture).expect("a file");
    let recorded =
        netrewind().args(["record", "--store", &store, "--stdin", "--budget", "1GiB"]).stdin(input).output();
    assert!(recorded.expect("netrewind runs").status.success());
    let told = String::from_utf8(done(["status", "--store", &store])).expect("text");
    assert!(told.contains("1% of the budget of 1.0 GiB"), "{told}");
    assert!(
        told.contains("interface   standard input: 7 packets in the last 24 hours, none dropped"),
        "{told}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&done(["status", "--store", &store, "--json"])).expect("JSON");
    assert_eq!(json["budget_bytes"], 1 << 30);
    assert_eq!(json["interfaces"][0]["received_last_day"], 7);
}

#[test]
fn a_list_goes_into_a_file_as_its_name_says() {
    let scene = Scene::new(20);
    let flows =
        |arguments: &[&str]| done(["flows", "--quiet", "--store", &scene.store].iter().chain(arguments));
    for (name, format, program) in [
        ("list.csv", "csv", None),
        ("list.json", "json", None),
        ("list.jsonl.zst", "json", Some("zstd")),
        ("list.csv.gz", "csv", Some("gzip")),
        ("list.txt", "table", None),
    ] {
        let path = text(&scene.path(name));
        assert!(flows(&["--limit", "50", "-o", &path]).is_empty(), "{name}");
        let written = match program {
            Some(program) => output_of(program, &["-dc", &path]).stdout,
            None => std::fs::read(&path).expect("a file"),
        };
        assert!(!written.is_empty() && written == flows(&["--limit", "50", "--format", format]), "{name}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // What is asked for goes before the name.
    let path = text(&scene.path("other.csv"));
    flows(&["--top", "hosts", "--json", "-o", &path]);
    assert_eq!(std::fs::read(&path).expect("a file"), flows(&["--top", "hosts", "--json"]));
    assert_eq!(flows(&["--top", "ports", "-o", "-"]), flows(&["--top", "ports"]));
    let lost = run(["flows", "--store", &scene.store, "-o", "/nowhere/list.csv"]);
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(lost.status.code() == Some(3) && said.contains("/nowhere/list.csv"), "{said}");
}

#[test]
fn verify_tells_scripts_what_it_tells_people() {
    let scene = Scene::new(20);
    let object = |arguments: &[&str], code: i32| -> serde_json::Value {
        let output = run(["verify", "--json"].iter().chain(arguments));
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one object")
    };
    let sound = object(&["--store", &scene.store], 0);
    assert_eq!((sound["packets"].as_u64(), sound["faults"].as_array().map(Vec::len)), (Some(5000), Some(0)));
    assert!(
        sound["sound"].as_array().expect("a list").iter().all(|kind| kind["sound"] == kind["all"]),
        "{sound}"
    );
    // A file and its manifest.
    let file = text(&scene.extract("evidence.pcap", &["--manifest"]));
    let checked = object(&[&file], 0);
    assert_eq!(checked["manifest"]["answer"]["packets"], 5000, "{checked}");
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[5000] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    assert!(!object(&[&file], 1)["faults"].as_array().expect("a list").is_empty());
    // A store with a fault, in the words for people.
    let damaged = |path: &Path| path.extension().is_some_and(|extension| extension == "idx");
    let index =
        files_below(Path::new(&scene.store)).into_iter().find(|path| damaged(path)).expect("an index");
    std::fs::write(&index, b"no index").expect("written");
    let told = object(&["--store", &scene.store], 1);
    let words = run(["verify", "--store", &scene.store, "--tz", "Europe/Rome"]);
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    for fault in told["faults"].as_array().expect("a list") {
        let line = format!(
            "{}: {}",
            fault["part"].as_str().expect("a part"),
            fault["reason"].as_str().expect("a reason")
        );
        assert!(words.contains(&line), "{line}\n{words}");
    }
    let wrong = run(["verify", "--store", &scene.store, "--tz", "Nowhere"]);
    assert_eq!(wrong.status.code(), Some(2));
}
