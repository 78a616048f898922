//! Where packets come from, and what captures say that they lack: through imports and streams into answers, against tshark and
//! mergecap.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::link::{Link, wait_until};
use crate::support::packets::{Packet, read_pcap, tcp, write_pcap};
use crate::support::service::Service;
use crate::support::{may_make_namespaces, netrewind, run, unnumber_logbook};

const START: u32 = 1_700_000_000;

/// Packets of one conversation, one a second, whose client has this port.
fn packets(port: u16, count: u32) -> Vec<Packet> {
    let ends = [([10, 0, 0, 1], port), ([10, 0, 0, 2], 80)];
    let packet = |i: u32| tcp((START + i, 0), ends, (i * 20, 0), 0x10, &[7; 20]);
    (0..count).map(packet).collect()
}

fn block(kind: u32, mut body: Vec<u8>) -> Vec<u8> {
    body.resize(body.len().next_multiple_of(4), 0);
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &body, &length].concat()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [code.to_le_bytes(), (value.len() as u16).to_le_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A pcapng file of these interfaces, whose packets take turns.
fn pcapng(names: &[&str], packets: &[Packet]) -> Vec<u8> {
    let mut file = block(0x0a0d_0d0a, words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    for name in names {
        let named = if name.is_empty() { Vec::new() } else { option(2, name.as_bytes()) };
        file.extend(block(1, [words(&[1, 0]), named].concat()));
    }
    for (number, packet) in packets.iter().enumerate() {
        let us = packet.at_ns() / 1000;
        let interface = (number % names.len()) as u32;
        let head = words(&[interface, (us >> 32) as u32, us as u32, packet.bytes.len() as u32, packet.len]);
        file.extend(block(6, [head, packet.bytes.clone()].concat()));
    }
    file
}

/// Statistics of the first interface: so many packets were dropped until then.
fn statistics(dropped: u64, second: u32) -> Vec<u8> {
    let us = u64::from(second) * 1_000_000;
    let body = [words(&[0, (us >> 32) as u32, us as u32]), option(5, &dropped.to_le_bytes())].concat();
    block(5, body)
}

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).expect("written");
        self.path(name)
    }

    fn store(&self) -> String {
        self.path("store").display().to_string()
    }

    fn import(&self, files: &[&Path]) -> Output {
        let store = self.store();
        let files = files.iter().map(|file| file.to_str().expect("a path"));
        run(["import", "--store", &store].into_iter().chain(files))
    }

    /// How many packets there are, the exit status, and what was said.
    fn count(&self, arguments: &[&str]) -> (Option<u64>, Option<i32>, String) {
        let store = self.store();
        let output =
            run(["extract", "--store", &store, "--count"].into_iter().chain(arguments.iter().copied()));
        (text(&output.stdout).trim().parse().ok(), output.status.code(), text(&output.stderr))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What tshark says of each packet's interface.
fn interface_names(file: &Path) -> Option<Vec<String>> {
    let tshark = Command::new("tshark")
        .args(["-n", "-T", "fields", "-e", "frame.interface_name", "-r"])
        .arg(file)
        .output()
        .inspect_err(|error| eprintln!("skipped: tshark does not run: {error}"))
        .ok()?;
    Some(text(&tshark.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn packets_keep_their_interfaces_through_a_store() {
    let scene = Scene::new();
    let names = ["lan0", "wan0", "lan1"];
    let file = scene.write("three.pcapng", &pcapng(&names, &packets(5000, 30)));
    assert_eq!(scene.import(&[&file]).status.code(), Some(0));
    let out = scene.path("out.pcapng");
    let (store, out_text) = (scene.store(), out.display().to_string());
    assert_eq!(run(["extract", "--store", &store, "-o", &out_text]).status.code(), Some(0));
    if let (Some(given), Some(found)) = (interface_names(&file), interface_names(&out)) {
        assert_eq!(found, given, "packets have the interfaces that they came with");
    }
    for name in names {
        assert_eq!(scene.count(&["--interface", name]).0, Some(10), "{name}");
    }
    assert_eq!(scene.count(&["--interface", "lan0", "--interface", "wan0"]).0, Some(20));
    assert_eq!(scene.count(&["--interface", file.to_str().expect("a path")]).0, Some(30));
    let (_, status, said) = scene.count(&["--interface", "lan7"]);
    assert!(status == Some(2) && names.iter().all(|name| said.contains(name)), "{said}");
    let flows = run(["flows", "--store", &store, "--interface", "wan0", "--format", "json"]);
    let record = text(&flows.stdout);
    let record: serde_json::Value =
        serde_json::from_str(record.lines().next().expect("a record")).expect("JSON");
    assert_eq!(record["client_packets"].as_u64(), Some(10), "{record}");
}

#[test]
fn two_files_without_names_are_told_apart_by_their_own() {
    let scene = Scene::new();
    let files = [(6000, 3), (6001, 4)]
        .map(|(port, count)| scene.write(&format!("{port}.pcap"), &write_pcap(1, &packets(port, count))));
    assert_eq!(scene.import(&[&files[0], &files[1]]).status.code(), Some(0));
    for (file, count) in files.iter().zip([3, 4]) {
        assert_eq!(scene.count(&["--interface", file.to_str().expect("a path")]).0, Some(count));
    }
    // Two interfaces of one file that have no names.
    let file = scene.write("two.pcapng", &pcapng(&["", ""], &packets(6002, 10)));
    scene.import(&[&file]);
    let second = format!("{}#1", file.display());
    assert_eq!(scene.count(&["--interface", &second]).0, Some(5));
}

#[test]
fn more_interfaces_than_lanes_are_kept_under_the_files_name_with_a_word() {
    let scene = Scene::new();
    let names: Vec<String> = (0..40).map(|number| format!("if{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = scene.write("many.pcapng", &pcapng(&names, &packets(5000, 400)));
    let said = text(&scene.import(&[&file]).stderr);
    assert!(said.contains("more than 15 interfaces") && said.contains("in 16 new segments"), "{said}");
    assert_eq!(scene.count(&["--interface", "if3"]).0, Some(10));
    assert_eq!(scene.count(&[]).0, Some(400));
}

#[test]
fn where_the_logbook_is_silent_an_answer_says_what_it_could_not_decide() {
    let scene = Scene::new();
    let file = scene.write("two.pcapng", &pcapng(&["lan0", "wan0"], &packets(5000, 10)));
    scene.import(&[&file]);
    unnumber_logbook(Path::new(&scene.path("store")), |line| !line.contains("\"wan0\""));
    let (count, status, said) = scene.count(&["--interface", "lan0"]);
    assert_eq!((count, status), (Some(5), Some(1)), "{said}");
    assert!(said.contains("does not say which interface"), "{said}");
    let (count, status, _) = scene.count(&[]);
    assert_eq!((count, status), (Some(10), Some(0)), "nobody asked for an interface");
}

#[test]
fn drops_that_a_capture_reports_are_in_answers_about_its_time() {
    let scene = Scene::new();
    let file = [pcapng(&["lan0", "wan0"], &packets(5000, 10)), statistics(400, START + 9)].concat();
    let said = text(&scene.import(&[&scene.write("a.pcapng", &file)]).stderr);
    assert!(said.contains("400 packets dropped"), "{said}");
    let (_, status, said) = scene.count(&[]);
    assert!(status == Some(1) && said.contains("400 packets by the kernel"), "{said}");
    let (_, status, said) = scene.count(&["--interface", "wan0"]);
    assert!(status == Some(0) && !said.contains("400"), "{said}");
    let (_, status, said) = scene.count(&["--from", &(START + 3600).to_string()]);
    assert!(status == Some(1) && said.contains("nothing is kept") && !said.contains("400"), "{said}");
}

#[test]
fn what_a_damaged_capture_lacks_is_missing_in_answers_about_the_time_behind_it() {
    let whole = write_pcap(1, &packets(5000, 100));
    let damaged = [whole[..whole.len() - 10].to_vec(), [&whole[..], &[0; 4096]].concat()];
    for (bytes, kept) in damaged.iter().zip([99, 100]) {
        let scene = Scene::new();
        let imported = scene.import(&[&scene.write("cut.pcap", bytes)]);
        assert_eq!(imported.status.code(), Some(1));
        let (count, status, said) = scene.count(&[]);
        assert_eq!((count, status), (Some(kept), Some(1)), "{said}");
        let at = |seconds: u32| (START + seconds).to_string();
        let (_, status, said) = scene.count(&["--from", &at(150), "--to", &at(151)]);
        assert!(status == Some(1) && said.contains("cut.pcap: damaged at byte"), "{said}");
        assert_eq!(scene.count(&["--from", &at(10), "--to", &at(20)]).1, Some(0), "before the damage");
        let (_, status, said) = scene.count(&["--from", &at(90_000), "--to", &at(90_001)]);
        assert!(
            status == Some(1) && !said.contains("damaged"),
            "long after it nothing was ever kept: {said}"
        );
        // The same as a stream.
        let scene = Scene::new();
        assert_eq!(scene.record_stdin(bytes).status.code(), Some(1));
        let (_, status, said) = scene.count(&["--from", &at(150), "--to", &at(151)]);
        assert!(status == Some(1) && said.contains("standard input: damaged at byte"), "{said}");
    }
}

impl Scene {
    fn record_stdin(&self, bytes: &[u8]) -> Output {
        let mut child = netrewind()
            .args(["record", "--stdin", "--store", &self.store()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        child.stdin.take().expect("a pipe").write_all(bytes).expect("written");
        child.wait_with_output().expect("it ends")
    }
}

#[test]
fn a_stream_of_captures_is_recorded_whole_and_garbage_is_no_success() {
    let scene = Scene::new();
    let named = pcapng(&["eth0", "eth1"], &packets(5002, 10));
    let stream = [write_pcap(1, &packets(5000, 10)), named, write_pcap(1, &packets(5001, 10))].concat();
    assert_eq!(scene.record_stdin(&stream).status.code(), Some(0));
    let (count, _, said) = scene.count(&[]);
    assert!(count == Some(30) && !said.contains("had not begun"), "{said}");
    assert_eq!(scene.count(&["--interface", "standard input/eth1"]).0, Some(5));
    assert_eq!(scene.count(&["--interface", "standard input"]).0, Some(30));
    for garbage in
        [&b"ssh: connect to host probe port 22: Connection refused\n"[..], b"", b"\xd4\xc3\xb2\xa1\x02"]
    {
        let scene = Scene::new();
        let output = scene.record_stdin(garbage);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("standard input: "), "{said}");
    }
}

#[test]
fn a_damaged_file_ends_no_replay_of_the_next() {
    let scene = Scene::new();
    let bad = scene.write("bad.pcap", &[write_pcap(1, &packets(5000, 3)), vec![0xff; 40]].concat());
    let good = scene.write("good.pcap", &write_pcap(1, &packets(5001, 7)));
    let store = scene.store();
    let (bad, good) = (bad.display().to_string(), good.display().to_string());
    let arguments =
        ["record", "--store", &store, "--replay", &bad, "--replay", &good, "--replay-speed", "max"];
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(scene.count(&["--filter", "port 5001"]).0, Some(7));
}

#[test]
fn a_pipe_is_opened_once_and_a_folder_is_none() {
    let scene = Scene::new();
    let plain = scene.write("a.pcap", &write_pcap(1, &packets(5000, 2000)));
    let zstd = scene.path("a.pcap.zst");
    let compressed = Command::new("zstd").args(["-q"]).arg(&plain).arg("-o").arg(&zstd).status();
    let files = if compressed.is_ok_and(|status| status.success()) { vec![plain, zstd] } else { vec![plain] };
    for (number, file) in files.iter().enumerate() {
        let pipe = scene.path(&format!("pipe{number}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let script = format!("cat '{}' > '{}'", file.display(), pipe.display());
        let mut writer = Command::new("sh").args(["-c", &script]).spawn().expect("a writer");
        let said = text(&scene.import(&[&pipe]).stderr);
        assert!(said.contains("2000 packets"), "{said}");
        assert!(writer.wait().expect("it ends").success());
    }
    let output = scene.import(&[scene.0.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("directory"), "{}", text(&output.stderr));
}

#[test]
fn what_is_not_kept_of_a_file_is_said() {
    let scene = Scene::new();
    let mut file = pcapng(&["lan0"], &packets(5000, 2));
    file.extend(block(10, [words(&[0x544c_534b, 8]), b"CLIENT_R".to_vec()].concat()));
    let far = words(&[0, u32::MAX, u32::MAX, 4, 4]);
    let output = scene.import(&[&scene.write("a.pcapng", &file)]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(0) && said.contains("9 B of TLS secrets are kept"), "{said}");
    file.extend(block(6, [far, vec![1; 4]].concat()));
    let output = scene.import(&[&scene.write("b.pcapng", &file)]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("after 2106"), "{said}");
    let (count, _, _) = scene.count(&["--from", "2106-01-01"]);
    assert_eq!(count, Some(1), "not in another century");
}

#[test]
fn peers_that_say_nothing_give_their_places_to_others() {
    let scene = Scene::new();
    let address = {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        probe.local_addr().expect("an address")
    };
    let said = std::fs::File::create(scene.path("said")).expect("a file");
    let mut recorder = netrewind()
        .args(["record", "--store", &scene.store(), "--pcap-over-ip", &format!("listen:{address}")])
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .expect("netrewind runs");
    wait_until("it listens", || TcpStream::connect(address).is_ok());
    let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(address).expect("connected")).collect();
    let mut peer = TcpStream::connect(address).expect("connected");
    peer.write_all(&write_pcap(1, &packets(5000, 5))).expect("sent");
    let begun = Instant::now();
    while scene.count(&[]).0 != Some(5) {
        assert!(begun.elapsed() < Duration::from_secs(40), "a ninth peer is heard");
        std::thread::sleep(Duration::from_millis(300));
    }
    let told = std::fs::read_to_string(scene.path("said")).expect("text");
    let pid = rustix::process::Pid::from_child(&recorder);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    recorder.wait().expect("it ends");
    let told = told + &std::fs::read_to_string(scene.path("said")).expect("text");
    assert!(told.contains("was disconnected to make room"), "{told}");
    drop(silent);
}

#[test]
fn a_live_interface_is_chosen_also_while_it_goes_on() {
    if !may_make_namespaces() {
        return;
    }
    let (scene, link) = (Scene::new(), Link::new());
    link.add_second_pair();
    let store = scene.path("store");
    let recording = link.record(&store, &["--interface", "rx1"]);
    let out = scene.path("followed.pcap");
    let mut follower = netrewind()
        .args(["extract", "--follow", "--interface", "rx1", "--store"])
        .arg(&store)
        .args(["--from", "now", "-q", "--max-packets", "3", "-o"])
        .arg(&out)
        .spawn()
        .expect("netrewind runs");
    std::thread::sleep(Duration::from_millis(500));
    let one = scene.write("one.pcap", &write_pcap(1, &packets(5000, 5)));
    let two = scene.write("two.pcap", &write_pcap(1, &packets(6000, 3)));
    link.send_from("tx0", &one, &["--topspeed"]);
    link.send_from("tx1", &two, &["--topspeed"]);
    wait_until("three packets", || follower.try_wait().expect("it can be asked").is_some());
    let followed = read_pcap(&std::fs::read(&out).expect("a file"));
    assert_eq!(
        followed.iter().map(|packet| &packet.bytes).collect::<Vec<_>>(),
        read_pcap(&std::fs::read(&two).expect("a file"))
            .iter()
            .map(|packet| &packet.bytes)
            .collect::<Vec<_>>()
    );
    recording.stop();
    assert_eq!(scene.count(&["--interface", "rx0"]).0, Some(5));
    assert_eq!(scene.count(&["--interface", "rx1"]).0, Some(3));
}

#[test]
fn recorders_are_asked_for_interfaces_too_and_a_joined_filter_learns_none() {
    let scene = Scene::new();
    let file = scene.write("two.pcapng", &pcapng(&["lan0", "wan0"], &packets(5000, 10)));
    scene.import(&[&file]);
    let service = Service::of(&scene.store());
    let url = format!("http://{}", service.address);
    let asked = |arguments: &[&str]| {
        run(["extract", "--count", "--url", &url].into_iter().chain(arguments.iter().copied()))
    };
    assert_eq!(text(&asked(&["--interface", "lan0"]).stdout).trim(), "5");
    let unknown = asked(&["--interface", "lan7"]);
    assert_eq!(unknown.status.code(), Some(2));
    let found = service.get("/api/v1/packets/count?interface=lan0&interface=wan0").json();
    assert_eq!(found["packets"].as_u64(), Some(10), "{found}");
    let problem = service.get("/api/v1/packets/count?interface=lan7").json();
    assert_eq!(problem["known"], serde_json::json!(["lan0", "wan0"]));
}
