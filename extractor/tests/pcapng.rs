//! The pcapng form, as tshark and capinfos read it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::process::Command;

use netrewind_extractor::{NoControl, PcapngSink, Query};
use netrewind_store::{Account, Drops, Event, LaneLoad, LinkType, Logbook, Timestamp};
use support::{Stored, TestStore, name, packet};

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(_) => {
            eprintln!("{program} is not installed; skipped");
            return None;
        }
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Two interfaces, one of them of raw IP, whose packets are cut.
fn store() -> TestStore {
    let mut test = TestStore::default();
    let raw = |n: u32| {
        let mut packet = packet(n, 1, 200);
        packet.bytes.drain(..14);
        packet.bytes.truncate(100 + n as usize);
        packet.header.caplen = packet.bytes.len() as u32;
        packet.header.nanoseconds += 789;
        packet.link_type = LinkType::RAW;
        packet
    };
    test.seal_indexed(name(1, 0), (0..30).map(|n| packet(n, 0, 100 + n)).collect());
    test.seal_indexed(name(1, 1), (0..20).map(raw).collect());
    let mut logbook = Logbook::new(&test.store);
    let mut log =
        |second: u32, event| logbook.append(Timestamp::new(1_795_339_861 + second, 0), event).unwrap();
    for (lane, interface) in [(0, "eth0"), (1, "tun0")] {
        let interface = interface.to_owned();
        log(0, Event::Start { lane, interface, snaplen: None, capture_filter: None, version: "1".into() });
    }
    log(0, Event::open(name(1, 0), "eth0", LinkType::ETHERNET));
    log(0, Event::open(name(1, 1), "tun0", LinkType::RAW));
    let second = |received, kernel| {
        let dropped = Drops { kernel, disk: 0 };
        Event::Second {
            lane: 0,
            received,
            written: received - kernel,
            dropped,
            bytes: 100,
            pace: LaneLoad::default(),
        }
    };
    log(1, second(10, 0));
    log(2, second(23, 3));
    let account = Account { received: 20, written: 20, ..Account::default() };
    log(3, Event::Stop { lane: 1, account });
    test
}

#[test]
fn wireshark_sees_packets_interfaces_drops_and_what_is_missing() {
    let test = store();
    let mut file = Vec::new();
    test.extractor().extract(&Query::default(), &mut PcapngSink::new(&mut file), &mut NoControl).unwrap();
    let path = test.folder.path().join("answer.pcapng");
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let fields = ["frame.time_epoch", "frame.interface_name", "frame.cap_len", "frame.len"];
    let mut arguments = vec!["-n", "-r", path, "-T", "fields"];
    fields.iter().for_each(|field| arguments.extend(["-e", field]));
    let Some(seen) = run("tshark", &arguments) else { return };
    let line = |packet: &Stored| {
        let interface = if packet.link_type == LinkType::RAW { "tun0" } else { "eth0" };
        let header = packet.header;
        format!(
            "{}.{:09}\t{interface}\t{}\t{}",
            header.seconds, header.nanoseconds, header.caplen, header.len
        )
    };
    let expected: Vec<String> = test.model(&Query::default(), &mut |_| true).iter().map(line).collect();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);

    let Some(about) = run("capinfos", &[path]) else { return };
    for words in [
        "Number of packets:   50",
        "netrewind",
        "Number of interfaces in file: 2",
        "Name = eth0",
        "Name = tun0",
        "Time precision = nanoseconds (9)",
        "Known before reading:",
        "incomplete",
        "dropped while recording: 3 packets by the kernel",
    ] {
        assert!(about.contains(words), "{words:?} is not in\n{about}");
    }
    let Some(statistics) = run("tshark", &["-n", "-r", path, "-q", "-z", "io,stat,0"]) else { return };
    assert!(statistics.contains("50"), "{statistics}");
}

#[test]
fn an_empty_answer_is_a_file_that_says_why() {
    let test = store();
    let mut file = Vec::new();
    let query = Query::of("host 1.2.3.4");
    test.extractor().extract(&query, &mut PcapngSink::new(&mut file), &mut NoControl).unwrap();
    let path = test.folder.path().join("empty.pcapng");
    std::fs::write(&path, &file).unwrap();
    let Some(about) = run("capinfos", &[path.to_str().unwrap()]) else { return };
    assert!(about.contains("Number of packets:   0") && about.contains("incomplete"), "{about}");
    assert!(String::from_utf8_lossy(&file).contains("Known after reading"));
}

#[test]
fn what_the_file_says_comes_back_through_a_reader() {
    use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
    use pcap_file::pcapng::{Block, PcapNgReader};
    let test = store();
    let mut file = Vec::new();
    test.extractor().extract(&Query::default(), &mut PcapngSink::new(&mut file), &mut NoControl).unwrap();
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let mut packets = Vec::new();
    let mut counts = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            (Block::EnhancedPacket(packet), _) => {
                packets.push((
                    packet.timestamp.as_nanos() as u64,
                    packet.original_len,
                    packet.data.into_owned(),
                ));
            }
            (Block::InterfaceStatistics(block), _) => {
                let number = |option: &InterfaceStatisticsOption<'_>| match option {
                    InterfaceStatisticsOption::IsbIfRecv(n) | InterfaceStatisticsOption::IsbIfDrop(n) => {
                        Some(*n)
                    }
                    _ => None,
                };
                counts.push(block.options.iter().filter_map(number).collect::<Vec<_>>());
            }
            _ => {}
        }
    }
    let model = test.model(&Query::default(), &mut |_| true);
    let expected: Vec<_> =
        model.iter().map(|packet| (packet.at().ns(), packet.header.len, packet.bytes.clone())).collect();
    assert_eq!(packets, expected);
    assert_eq!(counts, [vec![23, 3], vec![20, 0]], "the first second ended before the first packet");
}
