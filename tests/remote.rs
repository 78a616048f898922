//! Extracting from recorders over HTTP: as from a store, and from several in one order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use crate::support::link::wait_until;
use crate::support::packets::{Packet, assert_same, read_pcap, read_pcapng, write_pcap};
use crate::support::{import, netrewind, run};

/// A store being served; ended when dropped.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(store: &Path) -> Self {
        let mut child = netrewind()
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let url = lines.by_ref().find_map(|line| {
            let line = line.expect("text");
            let at = line.find("http://")?;
            line[at..].split('/').nth(2).map(|authority| format!("http://{authority}"))
        });
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("an address") }
    }

    fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const START: u32 = 1_700_000_000;

/// Packets a millisecond apart, of which this store has every `of`-th from `first` on.
fn packets(count: usize, first: usize, of: usize) -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(50).frames(5);
    let all = (0..count).map(|i| {
        let bytes = frames.next_frame().to_vec();
        let at = i as u64 * 1_000_003;
        Packet {
            seconds: START + (at / 1_000_000_000) as u32,
            nanoseconds: (at % 1_000_000_000) as u32,
            len: bytes.len() as u32,
            bytes,
        }
    });
    all.enumerate().filter(|(i, _)| i % of == first).map(|(_, packet)| packet).collect()
}

/// A store in a folder that goes with it.
fn store_of(packets: &[Packet]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, packets)).expect("written");
    import(&folder.path().join("store"), &[&capture]);
    folder
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_recorder_answers_as_its_store_does() {
    let folder = store_of(&packets(3000, 0, 1));
    let store = folder.path().join("store").display().to_string();
    let service = Service::start(Path::new(&store));
    let (from, to) = (format!("{}", START + 1), format!("{}.5", START + 2));
    for options in [
        vec!["-o", "-"],
        vec!["-o", "-", "--filter", "tcp and greater 200", "--view", "outer"],
        vec!["-o", "-", "--max-packets", "7"],
        vec!["-o", "-", "--max-bytes", "2000"],
        vec!["-o", "-", "--filter", "udp port 1 and udp port 2"],
        vec!["-o", "-", "--from", &from, "--to", &to],
        vec!["--count", "--filter", "tcp"],
        vec!["--count", "--filter", "udp", "--dedup", "5ms"],
        vec!["-o", "-", "--filter", "udp", "--dedup", "5ms"],
        vec!["--estimate", "--filter", "tcp"],
        vec!["-o", "-", "--filter", "tcp port 99999"],
        vec!["-o", "-", "--filter", "host 10.0.0.1 and prot 80"],
    ] {
        let local = run(["extract", "--store", &store].iter().chain(&options));
        let remote = run(["extract", "--url", &service.url].iter().chain(&options));
        assert_eq!(remote.status.code(), local.status.code(), "{options:?}: {}", said(&remote));
        assert!(remote.stdout == local.stdout, "{options:?}: {}", said(&remote));
        let untimed = |output: &Output| -> Vec<String> {
            let line = |line: &str| line.split(" in ").next().unwrap_or_default().to_owned();
            said(output).lines().map(line).collect()
        };
        assert_eq!(untimed(&remote), untimed(&local), "{options:?}");
    }
    let wrong = run(["extract", "--url", "gopher://x", "--count"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

#[test]
fn several_recorders_give_one_answer_in_order() {
    let folders = [0, 1, 2].map(|first| store_of(&packets(3000, first, 3)));
    let services = folders.each_ref().map(|folder| Service::start(&folder.path().join("store")));
    let urls: Vec<&str> = services.iter().flat_map(|service| ["--url", service.url.as_str()]).collect();
    let all = |options: &[&'static str]| run(["extract"].iter().chain(&urls).chain(options));
    let output = all(&["-o", "-"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&read_pcap(&output.stdout), &packets(3000, 0, 1), "the packets of all three");
    assert!(said(&output).contains("complete: 3 of 3 recorders"), "{}", said(&output));
    let limited = all(&["-o", "-", "--max-packets", "100"]);
    assert_same(&read_pcap(&limited.stdout), &packets(3000, 0, 1)[..100], "the first hundred");
    assert_eq!(limited.status.code(), Some(1), "{}", said(&limited));
    let count = all(&["--count"]);
    assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), "3000");

    let file = folders[0].path().join("all.pcapng");
    let output = run(["extract"].iter().chain(&urls).copied().chain(["-o", &file.display().to_string()]));
    assert!(output.status.success());
    assert_eq!(read_pcapng(&std::fs::read(&file).expect("a file")).len(), 3000);
    let fields = ["-T", "fields", "-e", "frame.interface_name", "-r"];
    let tshark = std::process::Command::new("tshark").args(fields).arg(&file).output().expect("tshark runs");
    let names = String::from_utf8_lossy(&tshark.stdout).into_owned();
    for service in &services {
        let of = names.lines().filter(|name| name.starts_with(&format!("{}/", service.authority())));
        assert_eq!(of.count(), 1000, "{}", service.url);
    }
}

/// What two recorders have seen of the same conversation is one answer, as if one store held both.
#[test]
fn duplicates_are_left_out_over_several_recorders() {
    let sent = packets(2000, 0, 1);
    // Every third packet passes the other recorder too, a little later and a hop further.
    let later = |packet: &Packet| {
        let mut bytes = packet.bytes.clone();
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 7, 7]);
        Packet { nanoseconds: packet.nanoseconds + 400_000, bytes, ..packet.clone() }
    };
    let is_late_enough = |packet: &&Packet| packet.nanoseconds < 999_000_000;
    let halves = [0, 1].map(|half| -> Vec<Packet> {
        let own = sent.iter().enumerate().filter(|(i, _)| i % 2 == half).map(|(_, packet)| packet.clone());
        let seen =
            sent.iter().enumerate().filter(|(i, _)| i % 2 != half && i % 3 == 0).map(|(_, packet)| packet);
        let mut all: Vec<_> = own.chain(seen.filter(is_late_enough).map(later)).collect();
        all.sort_by_key(Packet::at_ns);
        all
    });
    let mut together = halves.concat();
    together.sort_by_key(Packet::at_ns);
    let duplicates = together.len() - sent.len();
    assert!(duplicates > 600);
    let folder = store_of(&together);
    let store = folder.path().join("store").display().to_string();
    let folders = halves.each_ref().map(|packets| store_of(packets));
    let services = folders.each_ref().map(|folder| Service::start(&folder.path().join("store")));
    let urls: Vec<&str> = services.iter().flat_map(|service| ["--url", service.url.as_str()]).collect();
    for options in [
        &["-o", "-", "--dedup", "1ms"][..],
        &["-o", "-", "--dedup", "1ms", "--filter", "tcp"],
        &["-o", "-", "--dedup", "1ms", "--max-packets", "101"],
        &["-o", "-", "--dedup", "1ms", "--max-bytes", "30000"],
        &["-o", "-", "--dedup", "100us"],
        &["--count", "--dedup", "1ms"],
        &["--count", "--dedup", "1ms", "--no-index", "--filter", "udp"],
    ] {
        let local = run(["extract", "--store", &store].iter().chain(options));
        let remote = run(["extract"].iter().chain(&urls).chain(options));
        assert_eq!(remote.status.code(), local.status.code(), "{options:?}: {}", said(&remote));
        assert!(remote.stdout == local.stdout, "{options:?}: {}", said(&remote));
    }
    let output = run(["extract"].iter().chain(&urls).chain(&["-o", "-", "--dedup", "1ms"]));
    assert_same(&read_pcap(&output.stdout), &sent, "each packet once");
    let words = format!("{duplicates} duplicates within 1ms left out");
    assert!(
        said(&output).contains(&words) && said(&output).contains("complete: 2 of 2"),
        "{}",
        said(&output)
    );
    let json = run(["extract"].iter().chain(&urls).chain(&["--count", "--json", "--dedup", "1ms"]));
    let account: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(account["duplicates_dropped"], duplicates, "{account}");
}

#[test]
fn a_recorder_that_is_not_there_makes_the_answer_incomplete() {
    let folder = store_of(&packets(500, 0, 1));
    let service = Service::start(&folder.path().join("store"));
    // A port that nobody listens on: it was just free.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = format!("http://{free}");
    let output = run(["extract", "--url", &service.url, "--url", &nobody, "-o", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(read_pcap(&output.stdout).len(), 500);
    let words = format!("{free}: incomplete: it cannot be reached");
    assert!(said(&output).contains(&words), "{}", said(&output));
    for options in [["-o", "-"].as_slice(), &["--count"], &["--estimate"]] {
        let output = run(["extract", "--url", &nobody].iter().chain(options));
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("it cannot be reached"), "{}", said(&output));
    }
}

#[test]
fn a_body_that_breaks_off_is_noticed_with_its_time() {
    let folder = store_of(&packets(20_000, 0, 1));
    let service = Service::start(&folder.path().join("store"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let authority = service.authority().to_owned();
    // A line that is cut after a megabyte.
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(authority).expect("the service");
        let mut request = client.try_clone().expect("a socket");
        let mut to_server = server.try_clone().expect("a socket");
        std::thread::spawn(move || std::io::copy(&mut request, &mut to_server));
        let mut left = vec![0; 1 << 20];
        server.read_exact(&mut left).expect("a megabyte");
        client.write_all(&left).expect("sent");
        let _ = client.shutdown(std::net::Shutdown::Both);
    });
    let output = run(["extract", "--url", &url, "-o", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found = read_pcap(&output.stdout);
    assert_same(&found, &packets(20_000, 0, 1)[..found.len()], "what had come by then");
    assert!(!found.is_empty() && found.len() < 20_000);
    let said = said(&output);
    assert!(
        said.contains("incomplete: the answer broke off") && said.contains(", at 2023-11-14T22:13:"),
        "{said}"
    );
}

#[test]
fn what_is_followed_over_http_arrives_and_followers_are_bounded() {
    let folder = store_of(&packets(100, 0, 1));
    let store = folder.path().join("store");
    let service = Service::start(&store);
    let output = folder.path().join("followed.pcap");
    let mut follower = netrewind()
        .args(["extract", "--follow", "--url", &service.url, "-o"])
        .arg(&output)
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    let bytes = || std::fs::read(&output).unwrap_or_default();
    let size = |packets: &[Packet]| 24 + packets.iter().map(|packet| 16 + packet.bytes.len()).sum::<usize>();
    let past = packets(100, 0, 1);
    wait_until("the past has come", || bytes().len() == size(&past));
    let later = folder.path().join("later.pcap");
    let new: Vec<_> = packets(300, 0, 1).split_off(100);
    std::fs::write(&later, write_pcap(1, &new)).expect("written");
    import(&store, &[&later]);
    wait_until("what is new has come", || bytes().len() == size(&past) + size(&new) - 24);
    let id = follower.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    let mut text = String::new();
    follower.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
    assert!(follower.wait().expect("a child").success(), "{text}");
    assert_same(&read_pcap(&bytes()), &packets(300, 0, 1), "past and new");

    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut client = TcpStream::connect(service.authority()).expect("the service");
        let host = service.authority();
        let request = format!("GET /api/v1/packets?follow=true HTTP/1.1\r\nHost: {host}\r\n\r\n");
        client.write_all(request.as_bytes()).expect("sent");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut status = [0; 12];
        client.read_exact(&mut status).expect("a status");
        refused += usize::from(status.ends_with(b"429"));
        clients.push(client);
    }
    assert_eq!(refused, 8, "32 may follow");
    let count = run(["extract", "--url", &service.url, "--count"]);
    assert!(count.status.success(), "followers keep nobody from asking: {}", said(&count));
}

/// Comments of a pcapng file: its own, and those of its statistics; and what these count as lost.
fn comments(file: &[u8]) -> (Vec<String>, u64) {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let (mut comments, mut dropped, mut at) = (Vec::new(), 0, 0);
    while at < file.len() {
        let (kind, length) = (word(at), word(at + 4) as usize);
        let options = match kind {
            0x0a0d_0d0a => at + 24,
            5 => at + 20,
            _ => at + length,
        };
        let mut option = options;
        while option + 4 < at + length {
            let (code, bytes) = (word(option) & 0xffff, (word(option) >> 16) as usize);
            let value = &file[option + 4..option + 4 + bytes];
            match (kind, code) {
                (_, 1) => comments.push(String::from_utf8_lossy(value).into_owned()),
                (5, 5) => dropped += u64::from_le_bytes(value.try_into().expect("a count")),
                _ => {}
            }
            option += 4 + bytes.next_multiple_of(4);
        }
        at += length;
    }
    (comments, dropped)
}

/// What a recorder knows of its gaps stands in the file that is asked of it, before the packets and behind them.
#[test]
fn the_file_says_of_a_recorder_what_its_store_does() {
    let sent = packets(200, 0, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &sent)).expect("written");
    let (store, capture) = (folder.path().join("store").display().to_string(), capture.display().to_string());
    for _ in 0..2 {
        let recorded =
            run(["record", "--store", &store, "--budget", "1GiB", "--replay", &capture, "--replay-now"]);
        assert!(recorded.status.success(), "{}", said(&recorded));
        std::thread::sleep(Duration::from_millis(1500));
    }
    let whole = store_of(&sent);
    let (one, other) = (Service::start(Path::new(&store)), Service::start(&whole.path().join("store")));
    let lines = |output: &Output| -> Vec<String> {
        said(output).lines().filter(|line| !line.contains(" packets, ")).map(str::to_owned).collect()
    };
    let extract =
        |place: &[&str]| run(["extract"].iter().chain(place).chain(&["--format", "pcapng", "-o", "-"]));
    let local = extract(&["--store", &store]);
    let remote = extract(&["--url", &one.url]);
    assert_eq!((local.status.code(), remote.status.code()), (Some(1), Some(1)), "{}", said(&remote));
    assert_eq!(lines(&remote), lines(&local));
    assert!(said(&local).contains("not recorded:"), "{}", said(&local));
    assert_eq!(comments(&remote.stdout), comments(&local.stdout));
    let (known, _) = comments(&remote.stdout);
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(
        known.iter().all(|text| text.contains("incomplete") && text.contains("not recorded:")),
        "{known:?}"
    );

    let merged = extract(&["--url", &one.url, "--url", &other.url]);
    assert_eq!(merged.status.code(), Some(1), "{}", said(&merged));
    assert!(said(&merged).contains("incomplete: 1 of 2 recorders"), "{}", said(&merged));
    for text in comments(&merged.stdout).0 {
        let of = |service: &Service, words: &str| text.contains(&format!("{}: {words}", service.authority()));
        assert!(of(&one, "incomplete") && of(&one, "not recorded:") && of(&other, "complete"), "{text}");
    }

    let file = folder.path().join("extcap.pcapng").display().to_string();
    let arguments = ["--extcap-interface", "netrewind", "--capture", "--url", &one.url, "--fifo", &file];
    let wireshark = run(["extcap"].iter().chain(&arguments));
    assert!(wireshark.status.success() && said(&wireshark).is_empty(), "{}", said(&wireshark));
    assert_eq!(comments(&std::fs::read(&file).expect("a file")), comments(&local.stdout));
}

/// 20,000 addresses are more than a query string holds.
#[test]
fn a_long_list_is_asked_of_recorders_too() {
    let all = packets(4000, 0, 1);
    let (folder, hosts) = (store_of(&all), tempfile::NamedTempFile::new().expect("a file"));
    let store = folder.path().join("store");
    let address = |number: u32| std::net::Ipv4Addr::from_bits(number).to_string();
    let of_packet = |packet: &Packet| {
        let source = packet.bytes.get(26..30)?;
        Some(u32::from_be_bytes(source.try_into().ok()?))
    };
    let listed = all.iter().step_by(7).filter_map(of_packet).chain((0..20_000).map(|n| 0xc633_0000 + 2 * n));
    std::fs::write(hosts.path(), listed.map(address).collect::<Vec<_>>().join("\n")).expect("written");
    let service = Service::start(&store);
    let list = ["--hosts-file".as_ref(), hosts.path().as_os_str()];
    let of = |target: [&std::ffi::OsStr; 2], form: &[&str]| {
        let form = form.iter().map(AsRef::as_ref);
        let output =
            run(["extract".as_ref(), "-q".as_ref()].into_iter().chain(target).chain(list).chain(form));
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let (local, remote) = (["--store".as_ref(), store.as_os_str()], ["--url".as_ref(), service.url.as_ref()]);
    let found = read_pcap(&of(local, &["-o", "-"]));
    assert!(found.len() > 500 && found.len() < all.len(), "{} packets", found.len());
    assert_same(&read_pcap(&of(remote, &["-o", "-"])), &found, "over HTTP");
    for form in ["--count", "--estimate"] {
        assert_eq!(of(remote, &[form]), of(local, &[form]), "{form}");
    }
    assert_eq!(of(remote, &["--count", "--hits", "-"]), of(local, &["--count", "--hits", "-"]));
    // Two and a half million short entries are more than a request may have.
    std::fs::write(hosts.path(), "::1,".repeat(1_000_000 + (100 << 10))).expect("written");
    let output = run(["extract".as_ref(), "--count".as_ref(), "--url".as_ref(), service.url.as_ref()]
        .into_iter()
        .chain(list));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("more than 1048576 entries"), "{}", said(&output));
}
