//! Packets from streams: pcap-over-IP in both directions and standard input, by real sockets and pipes, against what
//! `tcpdump -r` makes of what was sent; and tunnel devices into which real frames are written.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::link::{Link, Recording, count_in_logbook, logbook, wait_until};
use crate::support::packets::{Packet, assert_same, read_pcap, read_pcapng, write_pcap};
use crate::support::{files_below, may_make_namespaces, netrewind, run, tcpdump};

const ETHERNET: u32 = 1;
const RAW: u32 = 101;
/// Long enough for what was sent to be taken, flushed and at hand.
const A_SECOND: Duration = Duration::from_secs(1);

/// A recorder of streams, without interfaces.
struct Scene {
    folder: tempfile::TempDir,
    recording: Option<Recording>,
}

impl Scene {
    fn record(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let said = std::fs::File::create(folder.path().join("said")).expect("a file");
        let child = netrewind()
            .args(["record", "--json", "--store"])
            .arg(folder.path().join("store"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .expect("netrewind runs");
        let scene = Self { folder, recording: Some(Recording::of(child)) };
        wait_until("the recorder has started", || {
            count_in_logbook(&scene.store(), "\"event\":\"start\"") > 0
        });
        scene
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A peer of the source that listens.
    fn connect(&self) -> TcpStream {
        let said = std::fs::read_to_string(self.folder.path().join("said")).expect("text");
        let address = said.lines().find_map(|line| line.strip_prefix("Waiting for peers: listen:"));
        TcpStream::connect(address.expect("an address")).expect("it listens")
    }

    fn wait_for(&self, event: &str, count: usize) {
        wait_until(event, || count_in_logbook(&self.store(), &format!("\"event\":\"{event}\"")) >= count);
    }

    fn extract(&self) -> Vec<Packet> {
        extract(&self.store(), "")
    }

    fn stop(mut self) -> (serde_json::Value, tempfile::TempDir) {
        let account = self.recording.take().expect("not stopped").stop();
        (account, self.folder)
    }
}

fn extract(store: &Path, filter: &str) -> Vec<Packet> {
    let store = store.display().to_string();
    let output = run(["extract", "--store", &store, "--view", "outer", "--filter", filter, "-o", "-"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    read_pcap(&output.stdout)
}

/// Packets of this link type, whose bytes and lengths differ, a microsecond apart from this second on.
fn packets(seconds: u32, count: u32) -> Vec<Packet> {
    let packet = |i: u32| {
        let mut bytes = vec![0x45, 0, 0, 0];
        bytes.extend((0..60 + i * 37 % 1400).map(|at| (i + at) as u8));
        Packet { seconds, nanoseconds: i * 1000, len: bytes.len() as u32, bytes }
    };
    (0..count).map(packet).collect()
}

fn in_order(lists: &[&[Packet]]) -> Vec<Packet> {
    let mut all = lists.concat();
    all.sort_by_key(Packet::at_ns);
    all
}

/// A big-endian pcapng file of packets with their link types.
fn write_pcapng(packets: &[(u32, Packet)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = (12 + body.len() + padding.len()) as u32;
        file.extend(kind.to_be_bytes());
        file.extend(length.to_be_bytes());
        file.extend([body, &padding].concat());
        file.extend(length.to_be_bytes());
    };
    block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
    let mut link_types: Vec<u32> = packets.iter().map(|(link_type, _)| *link_type).collect();
    link_types.dedup();
    link_types.sort_unstable();
    link_types.dedup();
    for link_type in &link_types {
        let nanoseconds = [0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0];
        block(1, &[&(link_type << 16).to_be_bytes()[..], &[0; 4], &nanoseconds].concat());
    }
    for (link_type, packet) in packets {
        let interface = link_types.iter().position(|known| known == link_type).expect("an interface") as u32;
        let at_ns = packet.at_ns();
        let words = [interface, (at_ns >> 32) as u32, at_ns as u32, packet.bytes.len() as u32, packet.len];
        let words: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        block(6, &[&words[..], &packet.bytes].concat());
    }
    file
}

#[test]
fn peers_of_a_listener_are_recorded_side_by_side_with_their_own_clocks() {
    let scene = Scene::record(&["--pcap-over-ip", "listen:127.0.0.1:0"]);
    // One has stopped its clock in 1970, one is far ahead, one is right and sends pcapng.
    let sent = [packets(1000, 400), packets(4_102_444_800, 300), packets(1_790_000_000, 500)];
    let streams = [
        write_pcap(ETHERNET, &sent[0]),
        write_pcap(ETHERNET, &sent[1]),
        write_pcapng(&sent[2].iter().map(|packet| (ETHERNET, packet.clone())).collect::<Vec<_>>()),
    ];
    let mut peers: Vec<_> = streams.iter().map(|_| scene.connect()).collect();
    // In turn, in pieces that end anywhere.
    for part in 0..10 {
        for (peer, stream) in peers.iter_mut().zip(&streams) {
            let piece = stream.len() / 10 + 1;
            let end = stream.len().min((part + 1) * piece);
            peer.write_all(&stream[(part * piece).min(end)..end]).expect("taken");
        }
    }
    let sent_at = Instant::now();
    let wanted = in_order(&[&sent[0], &sent[1], &sent[2]]);
    wait_until("all is at hand", || scene.extract().len() == wanted.len());
    assert!(sent_at.elapsed() < 3 * A_SECOND, "{:?}", sent_at.elapsed());
    assert_same(&scene.extract(), &wanted, "while the peers are connected");
    drop(peers);
    scene.wait_for("disconnected", 3);
    let (account, folder) = scene.stop();
    let store = folder.path().join("store");
    assert_eq!(account["written"].as_u64(), Some(1200), "{account}");
    let sources = account["sources"].as_array().expect("sources");
    let by_source: u64 = sources.iter().filter_map(|source| source["written"].as_u64()).sum();
    assert_eq!((sources.len(), by_source), (3, 1200), "{account}");
    assert_same(&extract(&store, ""), &wanted, "after the end");
    assert_eq!(count_in_logbook(&store, "\"event\":\"connected\""), 3);
    assert_eq!(count_in_logbook(&store, "the peer ended its stream"), 3);
    assert_eq!(count_in_logbook(&store, "\"event\":\"down\""), 0, "whoever says goodbye leaves no gap");
}

#[test]
fn what_arrived_whole_of_a_broken_stream_is_kept_and_the_loss_is_told() {
    let scene = Scene::record(&["--pcap-over-ip", "listen:127.0.0.1:0"]);
    let sent = packets(1_790_000_000, 50);
    let stream = write_pcap(ETHERNET, &sent);
    let mut first = scene.connect();
    first.write_all(&stream[..stream.len() - 5]).expect("taken");
    drop(first);
    scene.wait_for("disconnected", 1);
    // Not a capture at all, then a damaged one, then a good one again.
    scene.connect().write_all(b"GET / HTTP/1.1\r\nHost: recorder\r\n\r\n").expect("taken");
    scene.wait_for("disconnected", 2);
    let mut damaged = write_pcap(ETHERNET, &packets(1_790_000_001, 2));
    damaged.extend([0xff; 16]);
    scene.connect().write_all(&damaged).expect("taken");
    scene.wait_for("disconnected", 3);
    let after = packets(1_790_000_002, 20);
    let mut peer = scene.connect();
    peer.write_all(&write_pcap(ETHERNET, &after)).expect("taken");
    wait_until("the last are at hand", || scene.extract().len() == 49 + 2 + 20);
    let (_, folder) = scene.stop();
    drop(peer);
    let store = folder.path().join("store");
    let wanted = in_order(&[&sent[..49], &packets(1_790_000_001, 2), &after]);
    assert_same(&extract(&store, ""), &wanted, "what arrived whole");
    let lines: Vec<String> =
        logbook(&store).into_iter().filter(|line| line.contains("\"event\":\"disconnected\"")).collect();
    for (line, reason) in lines.iter().zip(["5 bytes early", "not a capture file", "claims a packet"]) {
        assert!(line.contains(reason), "{line}");
    }
    assert!(lines[0].contains("\"records\":49") && lines[2].contains("\"records\":2"), "{lines:?}");
    let range = ["--from", "2026-01-01", "--to", "2100-01-01"];
    let output = netrewind().args(["extract", "--count", "--store"]).arg(&store).args(range).output();
    let output = output.expect("netrewind runs");
    assert_eq!(output.status.code(), Some(1), "an answer tells of the loss");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("5 bytes early"), "{said}");
}

#[test]
fn a_peer_that_goes_is_connected_to_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let scene = Scene::record(&["--pcap-over-ip", &format!("connect:{address}")]);
    let sent = packets(1_790_000_000, 90);
    for (i, part) in sent.chunks(30).enumerate() {
        let (mut peer, _) = listener.accept().expect("it connects");
        let stream = write_pcap(ETHERNET, part);
        // The second breaks off within its next record, and by a reset.
        peer.write_all(&stream).expect("taken");
        wait_until("they are at hand", || scene.extract().len() == 30 * (i + 1));
        if i == 1 {
            peer.write_all(&[1; 20]).expect("taken");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    scene.wait_for("disconnected", 3);
    assert_same(&scene.extract(), &sent, "all three connections");
    assert_eq!(count_in_logbook(&scene.store(), "\"event\":\"connected\""), 3);
    assert!(count_in_logbook(&scene.store(), "\"event\":\"up\"") >= 2);
    let begun = Instant::now();
    scene.stop();
    assert!(begun.elapsed() < 3 * A_SECOND, "{:?}", begun.elapsed());
}

#[test]
fn a_peer_that_says_nothing_holds_up_neither_others_nor_the_end() {
    let scene =
        Scene::record(&["--pcap-over-ip", "listen:127.0.0.1:0", "--pcap-over-ip", "connect:192.0.2.1:9"]);
    let silent = scene.connect();
    let mut half = scene.connect();
    half.write_all(&write_pcap(ETHERNET, &packets(1_790_000_000, 3))[..30]).expect("taken");
    let sent = packets(1_790_000_000, 40);
    let mut peer = scene.connect();
    peer.write_all(&write_pcap(ETHERNET, &sent)).expect("taken");
    wait_until("they are at hand", || scene.extract().len() == 40);
    let begun = Instant::now();
    let (account, _folder) = scene.stop();
    assert!(begun.elapsed() < 4 * A_SECOND, "{:?}", begun.elapsed());
    assert_eq!(account["written"].as_u64(), Some(40), "{account}");
    for mut peer in [silent, half, peer] {
        let _ = peer.shutdown(Shutdown::Write);
        assert!(matches!(peer.read(&mut [0; 8]), Ok(0) | Err(_)), "it has been hung up on");
    }
}

#[test]
fn standard_input_is_recorded_live_and_its_end_is_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let mut child = netrewind()
        .args(["record", "--json", "--stdin", "--store"])
        .arg(&store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("netrewind runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    let sent = packets(1_790_000_000, 60);
    let stream = write_pcap(ETHERNET, &sent);
    let half = 24 + sent[..30].iter().map(|packet| 16 + packet.bytes.len()).sum::<usize>() + 7;
    pipe.write_all(&stream[..half]).expect("taken");
    wait_until("it has started", || store.join("store.toml").exists());
    let begun = Instant::now();
    wait_until("the first half is at hand", || extract(&store, "").len() == 30);
    assert!(begun.elapsed() < 3 * A_SECOND, "{:?}", begun.elapsed());
    pipe.write_all(&stream[half..]).expect("taken");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends by itself");
    assert!(output.status.success(), "{}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"written\":60"));
    assert_same(&extract(&store, ""), &sent, "all of it");
}

/// Records a pcapng stream in which packets of these link types take turns; gives the number of segments.
fn segments_of_mixed(link_types: &[u32], count: u32) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let turns = link_types.iter().copied().cycle();
    let sent: Vec<_> = turns.zip(packets(1_790_000_000, count)).collect();
    let file = folder.path().join("mixed.pcapng");
    std::fs::write(&file, write_pcapng(&sent)).expect("written");
    let status = netrewind()
        .args(["record", "--stdin", "--segment-bytes", "4MiB", "--store"])
        .arg(&store)
        .stdin(std::fs::File::open(&file).expect("a file"))
        .stderr(Stdio::null())
        .status()
        .expect("netrewind runs");
    assert!(status.success());
    let text = store.display().to_string();
    let output = run(["extract", "--store", &text, "--view", "outer", "--format", "pcapng", "-o", "-"]);
    assert_eq!(read_pcapng(&output.stdout), sent);
    let segments = files_below(&store.join("segments"));
    segments.iter().filter(|file| file.extension().is_some_and(|it| it == "pcap")).count()
}

#[test]
fn link_types_of_one_stream_go_into_few_segments() {
    assert_eq!(segments_of_mixed(&[ETHERNET, RAW], 600), 2);
    // More than there are lanes for: the rest take turns in one of them, and nothing is lost.
    let many = [ETHERNET, RAW, 105, 113, 228, 229, 276, 9, 50, 104, 107, 127];
    assert!(segments_of_mixed(&many, 60) > many.len());
}

#[test]
fn a_slow_peer_beside_a_fast_interface_costs_nothing() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let link = Link::new();
    link.ip(&["link", "set", "lo", "up"]);
    let file = folder.path().join("from-interface.pcap");
    let frame = |packet: Packet| {
        let bytes = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &packet.bytes].concat();
        Packet { len: bytes.len() as u32, bytes, ..packet }
    };
    let sent: Vec<_> = packets(1_790_000_000, 20_000).into_iter().map(frame).collect();
    std::fs::write(&file, write_pcap(ETHERNET, &sent)).expect("written");
    // A peer inside the namespace: a pipe that gives a packet now and then, and never ends.
    let slow = packets(5, 10);
    let stream = folder.path().join("slow.pcap");
    std::fs::write(&stream, write_pcap(ETHERNET, &slow)).expect("written");
    let replay = ["--replay".to_owned(), stream.display().to_string(), "--replay-speed=0.00001".to_owned()];
    let streams = ["--pcap-over-ip", "listen:127.0.0.1:0", "--pcap-over-ip", "connect:127.0.0.1:9"];
    let options: Vec<&str> = streams.into_iter().chain(replay.iter().map(String::as_str)).collect();
    let recording = link.record(&store, &options);
    link.send(&file, &["--mbps=400"]);
    wait_until("all is at hand", || extract(&store, "").len() == sent.len() + slow.len());
    let account = recording.stop();
    let of = |name: &str| {
        let sources = account["sources"].as_array().expect("sources");
        sources.iter().find(|source| source["name"].as_str().is_some_and(|it| it.starts_with(name))).cloned()
    };
    let interface = of("rx0").expect("the interface");
    assert_eq!(interface["received"].as_u64(), Some(sent.len() as u64), "{account}");
    assert_eq!(interface["dropped"]["kernel"].as_u64(), Some(0), "{account}");
    assert_eq!(account["received"].as_u64(), Some((sent.len() + slow.len()) as u64), "{account}");
    assert_eq!(account["received"], account["written"]);
}

/// Writes frames (in hexadecimal, one a line of standard input) into a device.
const WRITE_TO_DEVICE: &str = "
import fcntl, os, struct, sys
device = os.open('/dev/net/tun', os.O_RDWR)
kind = 1 if sys.argv[2] == 'tun' else 2
fcntl.ioctl(device, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), kind | 0x1000))
for line in sys.stdin:
    os.write(device, bytes.fromhex(line))
";

#[test]
fn tunnel_devices_are_recorded() {
    if !may_make_namespaces() || !Path::new("/dev/net/tun").exists() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let link = Link::new();
    for (name, kind) in [("tap0", "tap"), ("tun0", "tun")] {
        link.ip(&["tuntap", "add", name, "mode", kind]);
        link.ip(&["link", "set", name, "mtu", "9000", "up"]);
    }
    let ip = |i: u8| {
        let mut packet = vec![0x45, 0, 0, 40 + i, 0, i, 0, 0, 64, 17, 0, 0, 10, 0, 0, i, 10, 0, 0, 200];
        packet.resize(usize::from(40 + i), i);
        packet
    };
    let frames: Vec<Vec<u8>> = (0..100)
        .map(|i| [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &ip(i)].concat())
        .chain([[&[0xff; 12][..], &[0x81, 0, 0x20, 5, 8, 6], &[7; 50]].concat()])
        .collect();
    let datagrams: Vec<Vec<u8>> = (100..200).map(ip).collect();
    let store = folder.path().join("store");
    let recording = link.record(&store, &["--interface", "tap0", "--interface", "tun0"]);
    for (name, kind, packets) in [("tap0", "tap", &frames), ("tun0", "tun", &datagrams)] {
        let mut python = link
            .inside("python3")
            .args(["-c", WRITE_TO_DEVICE, name, kind])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut pipe = python.stdin.take().expect("a pipe");
        for packet in packets {
            let line: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(pipe, "{line}").expect("taken");
        }
        drop(pipe);
        assert!(python.wait().expect("a child").success());
    }
    let text = store.display().to_string();
    let everything = || {
        let output = run(["extract", "--store", &text, "--view", "outer", "--format", "pcapng", "-o", "-"]);
        read_pcapng(&output.stdout)
    };
    wait_until("all is at hand", || everything().len() >= frames.len() + datagrams.len());
    recording.stop();
    let of = |wanted: u32| -> Vec<Vec<u8>> {
        let all = everything().into_iter();
        all.filter(|(link_type, _)| *link_type == wanted).map(|(_, packet)| packet.bytes).collect()
    };
    assert_eq!(of(ETHERNET), frames);
    assert_eq!(of(RAW), datagrams);
    let output =
        run(["extract", "--store", &text, "--filter", "host 10.0.0.7 or host 10.0.0.150", "--count"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with('2'), "{output:?}");
}

#[test]
fn real_captures_come_through_as_tcpdump_reads_them() {
    let Some(captures) = crate::support::captures() else { return };
    let scene = Scene::record(&["--pcap-over-ip", "listen:127.0.0.1:0"]);
    let mut wanted = Vec::new();
    for capture in captures.iter().step_by(37) {
        let output =
            Command::new("tcpdump").args(["-w", "-", "-r"]).arg(capture).output().expect("tcpdump runs");
        if output.stdout.len() <= 24 || crate::support::packets::link_type(&output.stdout) != ETHERNET {
            continue;
        }
        let file = scene.folder.path().join("one.pcap");
        std::fs::write(&file, &output.stdout).expect("written");
        wanted.extend(tcpdump(&file, "").expect("tcpdump reads it"));
        scene.connect().write_all(&output.stdout).expect("taken");
    }
    assert!(wanted.len() > 100, "{}", wanted.len());
    wait_until("all is at hand", || scene.extract().len() >= wanted.len());
    // Where several have the same time, their order is that of the lanes.
    let sorted = |mut packets: Vec<Packet>| {
        packets.sort_by(|a, b| (a.at_ns(), a.len, &a.bytes).cmp(&(b.at_ns(), b.len, &b.bytes)));
        packets
    };
    assert_same(&sorted(scene.extract()), &sorted(wanted), "over TCP");
    scene.stop();
}

#[test]
fn what_cannot_be_a_source_is_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store").display().to_string();
    for arguments in [
        &["--pcap-over-ip", "127.0.0.1:5"][..],
        &["--pcap-over-ip", "connect:127.0.0.1"],
        &["--stdin", "--capture-filter", "udp"],
        &[],
    ] {
        let output = run(["record", "--store", &store].iter().chain(arguments));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
