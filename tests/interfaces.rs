//! Interfaces that come and go, that are named twice or all at once; capture filters held against `tcpdump -i`; signals.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::link::{Link, count_in_logbook, logbook, wait_until};
use crate::support::packets::{Packet, write_pcap};
use crate::support::{files_below, may_make_namespaces, run};

/// A link, with a folder for stores and captures.
struct Scene {
    folder: tempfile::TempDir,
    link: Link,
}

impl Scene {
    fn new() -> Option<Self> {
        may_make_namespaces()
            .then(|| Self { folder: tempfile::tempdir().expect("a folder"), link: Link::new() })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Sends these frames to the recorded interface, and then from it.
    fn send_both_ways(&self, frames: &[Vec<u8>]) {
        let capture = self.capture(frames);
        self.link.send(&capture, &["--pps=500"]);
        let replayed =
            self.link.inside("tcpreplay").args(["-q", "-i", Link::RECORDED]).arg(&capture).output();
        assert!(replayed.expect("tcpreplay runs").status.success());
    }

    fn capture(&self, frames: &[Vec<u8>]) -> std::path::PathBuf {
        let packet = |bytes: &Vec<u8>| Packet {
            seconds: 1_700_000_000,
            nanoseconds: 0,
            len: bytes.len() as u32,
            bytes: bytes.clone(),
        };
        let path = self.path("sent.pcap");
        std::fs::write(&path, write_pcap(1, &frames.iter().map(packet).collect::<Vec<_>>()))
            .expect("written");
        path
    }

    /// A recorder that says what it says into a file, once it has begun; `before` goes before its name.
    fn record(&self, store: &str, before: &[&str], options: &[&str]) -> Child {
        let said = std::fs::File::create(self.path(&format!("{store}.said"))).expect("a file");
        let mut command = match before {
            [first, others @ ..] => {
                let mut command = self.link.inside(first);
                command.args(others).arg(env!("CARGO_BIN_EXE_netrewind"));
                command
            }
            [] => self.link.inside(env!("CARGO_BIN_EXE_netrewind")),
        };
        let folder = self.path(store);
        let child = command
            .args(["record", "--ring", "8MiB", "--store"])
            .arg(&folder)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("netrewind runs");
        wait_until("the recorder has started", || self.said(store).contains("status --store"));
        child
    }

    fn said(&self, store: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{store}.said"))).unwrap_or_default()
    }

    fn count(&self, store: &str, filter: &str) -> usize {
        let folder = self.path(store).display().to_string();
        let output = run(["extract", "--store", &folder, "--view", "outer", "--count", "--filter", filter]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// A signal, by its name.
fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Ends a recorder as a person would; everything is sealed then.
fn end(mut child: Child, store: &Path) {
    signal(child.id(), "INT");
    assert!(child.wait().expect("a child").success());
    assert_sealed(store);
}

fn assert_sealed(store: &Path) {
    let files = files_below(&store.join("segments"));
    let unsealed: Vec<_> = files.iter().filter(|file| file.to_string_lossy().contains(".open")).collect();
    assert!(unsealed.is_empty() && !files.is_empty(), "{files:?}");
}

/// A UDP packet over IPv4 behind these bytes, which follow the Ethernet addresses.
fn udp(between: &[u8], source: [u8; 4], source_port: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend_from_slice(between);
    bytes.extend([0x08, 0x00, 0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0]);
    bytes.extend(source);
    bytes.extend([10, 0, 0, 2]);
    bytes.extend([source_port.to_be_bytes(), 6u16.to_be_bytes(), 26u16.to_be_bytes(), [0, 0]].concat());
    bytes.resize(bytes.len() + 18, 7);
    bytes
}

/// The last byte of packets that are not compared.
const OTHER: u8 = 8;

/// Traffic of which capture filters may think differently: no tag, tags of both kinds, two of them, priorities alone.
fn tagged_traffic() -> Vec<Vec<u8>> {
    let tags: [&[u8]; 7] = [
        &[],
        &[0x81, 0x00, 0x00, 0x05],
        &[0x81, 0x00, 0xe0, 0x05],
        &[0x81, 0x00, 0x00, 0x07],
        &[0x81, 0x00, 0xa0, 0x00],
        &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x08],
        &[0x81, 0x00, 0x00, 0x05, 0x81, 0x00, 0x00, 0x08],
    ];
    let frames = tags.iter().enumerate();
    frames.flat_map(|(i, tag)| (0..=i as u8).map(|host| udp(tag, [10, 0, 0, host], 5))).collect()
}

#[test]
fn a_capture_filter_accepts_what_tcpdump_on_the_interface_accepts() {
    let Some(scene) = Scene::new() else { return };
    let hosts: Vec<String> = (0..700).map(|i| format!("host 10.9.{}.{}", i / 250, i % 250)).collect();
    let long = format!("not (host 10.0.0.1 or {})", hosts.join(" or "));
    let expressions = [
        "vlan",
        "vlan 5",
        "not vlan",
        "not vlan 5",
        "vlan and host 10.0.0.1",
        "vlan 7 and vlan 8",
        "vlan 5 and inbound",
        "udp src port 5 and host 10.0.0.1",
        "inbound",
        "outbound",
        "ip protochain 17",
        &long,
    ];
    let mut pairs = Vec::new();
    for (number, expression) in expressions.iter().enumerate() {
        let options = ["--interface", Link::RECORDED, "--capture-filter", expression];
        let recorder = scene.record(&format!("s{number}"), &[], &options);
        let said = scene.path(&format!("t{number}.said"));
        let tcpdump = scene
            .link
            .inside("tcpdump")
            .args(["-U", "--nano", "--immediate-mode", "-s", "2000", "-i", Link::RECORDED, "-w"])
            .arg(scene.path(&format!("t{number}.pcap")))
            .arg(expression)
            .stderr(std::fs::File::create(&said).expect("a file"))
            .spawn()
            .expect("tcpdump runs");
        pairs.push((recorder, tcpdump, said));
    }
    for (_, _, said) in &pairs {
        wait_until("tcpdump listens", || {
            std::fs::read_to_string(said).unwrap_or_default().contains("listening")
        });
    }
    // libpcap filters the first block of a ring itself, and then knows of no direction: it gets other packets.
    let mut first = tagged_traffic();
    first.iter_mut().for_each(|frame| *frame.last_mut().expect("a byte") = OTHER);
    scene.send_both_ways(&first);
    scene.send_both_ways(&tagged_traffic());
    std::thread::sleep(Duration::from_secs(1));
    for (number, (recorder, mut tcpdump, _)) in pairs.into_iter().enumerate() {
        let (store, expression) = (format!("s{number}"), expressions[number]);
        signal(tcpdump.id(), "INT");
        tcpdump.wait().expect("a child");
        let rival = std::fs::read(scene.path(&format!("t{number}.pcap"))).expect("tcpdump wrote");
        let is_compared = |packet: &Packet| packet.bytes.last() != Some(&OTHER);
        let mut wanted = crate::support::packets::read_pcap(&rival);
        wanted.retain(is_compared);
        end(recorder, &scene.path(&store));
        let folder = scene.path(&store).display().to_string();
        let output = run(["extract", "--store", &folder, "--view", "outer", "-o", "-"]);
        let mut found = crate::support::packets::read_pcap(&output.stdout);
        found.retain(is_compared);
        let by_bytes = |packet: &Packet| packet.bytes.clone();
        found.sort_by_key(by_bytes);
        wanted.sort_by_key(by_bytes);
        assert!(!wanted.is_empty(), "{expression:.60}");
        let bytes = |packets: &[Packet]| packets.iter().map(by_bytes).collect::<Vec<_>>();
        assert_eq!(bytes(&found), bytes(&wanted), "{expression:.60}");
        let is_told = scene.said(&store).contains("the kernel does not accept the capture filter")
            && count_in_logbook(&scene.path(&store), "the kernel does not accept") == 1;
        assert_eq!(is_told, number >= 10, "{expression:.60}: {}", scene.said(&store));
    }
}

#[test]
fn a_capture_filter_that_is_wrong_is_wrong_usage_whether_the_interface_is_there_or_not() {
    let Some(scene) = Scene::new() else { return };
    for interface in [Link::RECORDED, "nosuch0"] {
        let output = scene
            .link
            .inside(env!("CARGO_BIN_EXE_netrewind"))
            .args(["record", "--interface", interface, "--capture-filter", "tcp prot 80", "--store"])
            .arg(scene.path("none"))
            .output()
            .expect("netrewind runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("^^^^"), "{said}");
    }
}

#[test]
fn an_interface_that_is_missing_is_waited_for_and_the_time_without_it_is_a_gap() {
    let Some(scene) = Scene::new() else { return };
    let options = ["--interface", "late0", "--lanes", "2", "--capture-filter", "not vlan 9"];
    let recorder = scene.record("s", &[], &options);
    let said = scene.said("s");
    assert!(
        said.contains("late0: no such interface; there are: ")
            && said.contains("Recording starts when it appears"),
        "{said}"
    );
    let store = scene.path("s");
    wait_until("it is down", || count_in_logbook(&store, "\"event\":\"down\"") == 2);
    let without_it = std::time::UNIX_EPOCH.elapsed().expect("a time").as_secs_f64().to_string();
    let folder = store.display().to_string();
    let status = run(["status", "--store", &folder]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("late0: no such interface"));
    scene.link.ip(&["link", "set", Link::RECORDED, "down"]);
    scene.link.ip(&["link", "set", Link::RECORDED, "name", "late0"]);
    scene.link.ip(&["link", "set", "late0", "up"]);
    wait_until("it is up", || count_in_logbook(&store, "\"event\":\"up\"") == 2);
    let capture = scene.capture(&[udp(&[], [10, 0, 0, 1], 5), udp(&[0x81, 0, 0, 9], [10, 0, 0, 1], 5)]);
    wait_until("something is recorded", || {
        scene.link.send(&capture, &[]);
        std::thread::sleep(Duration::from_millis(700));
        scene.count("s", "udp") > 0
    });
    assert_eq!(scene.count("s", "vlan"), 0, "the filter came with the interface");
    wait_until("that is said", || scene.said("s").contains("late0 is back"));
    end(recorder, &store);
    let answer = run(["extract", "--store", &folder, "--count", "--from", &without_it]);
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.code() == Some(1) && said.contains("late0"), "{said}");
}

#[test]
fn an_interface_that_moves_away_and_back_is_down_once_and_up_once() {
    let Some(scene) = Scene::new() else { return };
    let store = scene.path("s");
    let recorder = scene.record("s", &[], &["--interface", Link::RECORDED, "--lanes", "2"]);
    let capture = scene.capture(&(0..50).map(|port| udp(&[], [10, 0, 0, 1], port)).collect::<Vec<_>>());
    scene.link.send(&capture, &[]);
    wait_until("the first are there", || scene.count("s", "udp") == 50);
    let sender = scene.link.sender_namespace();
    let sender = sender.file_name().expect("a name").to_str().expect("text");
    scene.link.ip(&["link", "set", Link::RECORDED, "netns", sender]);
    wait_until("it is away", || count_in_logbook(&store, "\"event\":\"down\"") == 2);
    std::thread::sleep(Duration::from_secs(1));
    let recording = recorder.id().to_string();
    scene.link.ip_of_sender(&["link", "set", Link::RECORDED, "netns", &recording]);
    scene.link.ip(&["link", "set", Link::RECORDED, "up"]);
    scene.link.ip_of_sender(&["link", "set", "tx0", "up"]);
    wait_until("it is back", || count_in_logbook(&store, "\"event\":\"up\"") == 2);
    wait_until("more are there", || {
        scene.link.send(&capture, &[]);
        std::thread::sleep(Duration::from_millis(700));
        scene.count("s", "udp") >= 100
    });
    end(recorder, &store);
    let changes: Vec<_> = logbook(&store)
        .into_iter()
        .filter(|line| line.contains("\"down\"") || line.contains("\"up\""))
        .collect();
    assert_eq!(changes.len(), 4, "{changes:#?}");
    assert!(changes.iter().filter(|line| line.contains("\"worked_until\"")).count() == 2, "{changes:#?}");
}

#[test]
fn an_interface_that_is_named_twice_is_recorded_once() {
    let Some(scene) = Scene::new() else { return };
    scene.link.ip(&[
        "link",
        "property",
        "add",
        "dev",
        Link::RECORDED,
        "altname",
        "its-alternative-name-is-long",
    ]);
    let interfaces = ["--interface", Link::RECORDED, "--interface", Link::RECORDED];
    let options = [&interfaces[..], &["--interface", "its-alternative-name-is-long"]].concat();
    let recorder = scene.record("s", &[], &options);
    let said = scene.said("s");
    assert!(said.contains("is given twice") && said.contains("is the same as rx0"), "{said}");
    let capture = scene.capture(&[udp(&[], [10, 0, 0, 1], 5)]);
    scene.link.send(&capture, &[]);
    wait_until("it is there", || scene.count("s", "udp") > 0);
    end(recorder, &scene.path("s"));
    assert_eq!(scene.count("s", "udp"), 1);
    assert_eq!(count_in_logbook(&scene.path("s"), "\"event\":\"start\""), 1);
}

#[test]
fn any_records_what_tcpdump_records_on_any() {
    let Some(scene) = Scene::new() else { return };
    scene.link.ip(&["link", "set", "lo", "up"]);
    let file = scene.path("any.pcap");
    let said = scene.path("tcpdump.said");
    let mut tcpdump = scene
        .link
        .inside("tcpdump")
        .args(["-U", "--nano", "--immediate-mode", "-s", "2000", "-i", "any", "-w"])
        .arg(&file)
        .arg("udp and inbound")
        .stderr(std::fs::File::create(&said).expect("a file"))
        .spawn()
        .expect("tcpdump runs");
    let options = ["--interface", "any", "--interface", "rx0", "--capture-filter", "udp and inbound"];
    let recorder = scene.record("s", &[], &options);
    assert!(scene.said("s").contains("rx0 is included in any"));
    wait_until("tcpdump listens", || {
        std::fs::read_to_string(&said).unwrap_or_default().contains("listening")
    });
    let capture = scene.capture(&(0..9).map(|port| udp(&[], [10, 0, 0, 1], port)).collect::<Vec<_>>());
    scene.link.send(&capture, &[]);
    let replayed = scene.link.inside("tcpreplay").args(["-q", "-i", "lo"]).arg(&capture).output();
    assert!(replayed.expect("tcpreplay runs").status.success());
    wait_until("all is there", || scene.count("s", "udp") >= 18);
    end(recorder, &scene.path("s"));
    signal(tcpdump.id(), "INT");
    tcpdump.wait().expect("a child");
    let rival = std::fs::read(&file).expect("tcpdump wrote");
    let folder = scene.path("s").display().to_string();
    let ours = run(["extract", "--store", &folder, "--view", "outer", "-o", "-"]).stdout;
    assert_eq!(crate::support::packets::link_type(&ours), crate::support::packets::link_type(&rival));
    let bytes = |file: &[u8]| {
        let packets = crate::support::packets::read_pcap(file);
        packets.into_iter().map(|packet| (packet.at_ns(), packet.len, packet.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&ours), bytes(&rival), "the same packets, with the same times and headers");
    for filter in ["udp src port 5 and host 10.0.0.1", "src host 10.0.0.1 and inbound"] {
        let output = Command::new("tcpdump").args(["--count", "-r"]).arg(&file).arg(filter).output();
        let told = String::from_utf8_lossy(&output.expect("tcpdump runs").stdout).into_owned();
        let Some(count) = told.split(' ').next().and_then(|word| word.parse::<usize>().ok()) else {
            continue;
        };
        assert_eq!(scene.count("s", filter), count, "{filter}");
    }
}

#[test]
fn no_signal_that_can_be_caught_leaves_anything_unsealed() {
    let Some(scene) = Scene::new() else { return };
    let capture = scene.capture(&[udp(&[], [10, 0, 0, 1], 5)]);
    // In a session of its own there is no terminal that could hang up.
    for (number, signals) in [&["QUIT"][..], &["INT", "INT", "INT"], &["HUP", "PIPE", "USR1", "USR2", "TERM"]]
        .into_iter()
        .enumerate()
    {
        let store = format!("s{number}");
        let mut recorder = scene.record(&store, &["setsid"], &["--interface", Link::RECORDED]);
        scene.link.send(&capture, &[]);
        for name in signals {
            signal(recorder.id(), name);
            if name != &"INT" {
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        assert!(recorder.wait().expect("a child").success(), "{signals:?}: {}", scene.said(&store));
        assert_sealed(&scene.path(&store));
        assert_eq!(scene.count(&store, "udp"), 1, "{signals:?}");
        if signals[0] == "HUP" {
            let said = scene.said(&store);
            assert!(said.contains("recording goes on") && said.contains("packets/s"), "{said}");
        }
    }
}

#[test]
fn a_recorder_ends_as_it_should_when_its_terminal_goes_away() {
    let Some(scene) = Scene::new() else { return };
    let store = scene.path("s");
    let program = env!("CARGO_BIN_EXE_netrewind");
    let command = format!(
        "exec {program} record --ring 8MiB --interface {} --store {}",
        Link::RECORDED,
        store.display()
    );
    let mut terminal = scene
        .link
        .inside("script")
        .args(["--quiet", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("script runs: scripts/install test");
    wait_until("the recorder has started", || count_in_logbook(&store, "\"event\":\"start\"") == 1);
    let capture = scene.capture(&[udp(&[], [10, 0, 0, 1], 5)]);
    scene.link.send(&capture, &[]);
    wait_until("it is there", || scene.count("s", "udp") == 1);
    terminal.kill().expect("killed");
    terminal.wait().expect("a child");
    wait_until("the recorder has stopped", || count_in_logbook(&store, "\"event\":\"stop\"") == 1);
    assert_sealed(&store);
}
