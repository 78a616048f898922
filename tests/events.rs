//! Packets of the events in a log: those that tcpdump gives for each event's filter, each in the time of its event.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use fastrand::Rng;

use crate::support::packets::{Packet, assert_same, read_pcap, tcp, write_pcap};
use crate::support::service::Service;
use crate::support::wrapping::in_vxlan;
use crate::support::{captures, done, import, run, seed, tcpdump};

const CAPTURES: usize = 25;
const EVENTS: usize = 12;
const ETHERNET: u32 = 1;
const START: u32 = 1_795_339_862;

/// A conversation as a log has it.
#[derive(Clone)]
struct Event {
    ends: [IpAddr; 2],
    ports: Option<[u16; 2]>,
    protocol: Option<&'static str>,
    at_ns: u64,
}

impl Event {
    /// Of a packet whose headers have nothing unusual.
    fn of(packet: &Packet) -> Option<Self> {
        let bytes = &packet.bytes;
        let (ends, number, transport): ([IpAddr; 2], u8, usize) = match (bytes.get(12..14)?, bytes.get(14)?) {
            ([0x08, 0x00], 0x45) if bytes.get(20)? & 0x3f == 0 && *bytes.get(21)? == 0 => {
                let end = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
                ([end(26)?.into(), end(30)?.into()], *bytes.get(23)?, 34)
            }
            ([0x86, 0xdd], first) if first >> 4 == 6 => {
                let end =
                    |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
                ([end(22)?.into(), end(38)?.into()], *bytes.get(20)?, 54)
            }
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (protocol, ports) = match (number, ends[0].is_ipv4()) {
            (6, _) => ("tcp", Some([port(transport)?, port(transport + 2)?])),
            (17, _) => ("udp", Some([port(transport)?, port(transport + 2)?])),
            (1, true) | (58, false) => ("icmp", None),
            _ => return None,
        };
        Some(Self { ends, ports, protocol: Some(protocol), at_ns: packet.at_ns() })
    }

    /// As a log may have it: the other way round, and with less.
    fn logged(mut self, rng: &mut Rng) -> Self {
        if rng.bool() {
            self.ends.reverse();
            self.ports = self.ports.map(|[one, other]| [other, one]);
        }
        if rng.u8(..5) == 0 {
            self.ports = None;
        }
        if rng.u8(..5) == 0 {
            self.protocol = None;
        }
        self
    }

    /// A line of Zeek's, with its time to the nanosecond.
    fn line(&self) -> String {
        let time = format!("{}.{:09}", self.at_ns / 1_000_000_000, self.at_ns % 1_000_000_000);
        let [one, other] = self.ends;
        let mut line = serde_json::json!({"ts": time, "id.orig_h": one, "id.resp_h": other});
        if let Some([of_one, of_other]) = self.ports {
            line["id.orig_p"] = of_one.into();
            line["id.resp_p"] = of_other.into();
        }
        if let Some(protocol) = self.protocol {
            line["proto"] = protocol.into();
        }
        line.to_string() + "\n"
    }

    /// What tcpdump takes.
    fn expression(&self) -> String {
        let [one, other] = self.ends;
        let mut text = format!("(ip or ip6) and host {one} and host {other}");
        if let Some(protocol) = self.protocol {
            let is_icmp6 = protocol == "icmp" && one.is_ipv6();
            let _ = write!(text, " and {}", if is_icmp6 { "icmp6" } else { protocol });
        }
        if let Some([of_one, of_other]) = self.ports {
            let way = |from, of_from, to, of_to| {
                format!("(src host {from} and src port {of_from} and dst host {to} and dst port {of_to})")
            };
            let _ = write!(
                text,
                " and ({} or {})",
                way(one, of_one, other, of_other),
                way(other, of_other, one, of_one)
            );
        }
        text
    }
}

/// Which packets of the file an expression accepts.
fn accepted(file: &Path, packets: &[Packet], expression: &str) -> Vec<bool> {
    let mut found = tcpdump(file, expression).expect("a filter").into_iter().peekable();
    // What has the same bytes has the same verdict, so that the first of equal ones is as good as any.
    packets.iter().map(|packet| found.next_if(|next| next == packet).is_some()).collect()
}

/// Packets that any of the events has within this time before or after it, in order.
fn wanted(file: &Path, packets: &[Packet], events: &[Event], window_ns: u64) -> Vec<Packet> {
    let mut is_wanted = vec![false; packets.len()];
    for event in events {
        let range = event.at_ns.saturating_sub(window_ns)..event.at_ns + window_ns;
        for (number, is_accepted) in accepted(file, packets, &event.expression()).into_iter().enumerate() {
            is_wanted[number] |= is_accepted && range.contains(&packets[number].at_ns());
        }
    }
    let mut wanted: Vec<Packet> = packets
        .iter()
        .zip(is_wanted)
        .filter(|(_, is_wanted)| *is_wanted)
        .map(|(packet, _)| packet.clone())
        .collect();
    wanted.sort_by_key(Packet::at_ns);
    wanted
}

#[test]
fn events_give_the_packets_that_tcpdump_gives_for_each_in_its_time() {
    let Some(captures) = captures() else { return };
    let (mut rng, mut compared) = (Rng::with_seed(seed()), 0);
    for _ in 0..CAPTURES {
        let folder = tempfile::tempdir().expect("a folder");
        let Ok(packets) = tcpdump(&captures[rng.usize(..captures.len())], "") else { continue };
        let truth = folder.path().join("truth.pcap");
        std::fs::write(&truth, write_pcap(ETHERNET, &packets)).expect("written");
        // Between these are headers behind which libpcap looks for no ports.
        let is_usual = |event: &Event| {
            let of_both = |packet: &&Packet| {
                packet.bytes.get(12..14) == Some(&[0x86, 0xdd])
                    && !matches!(packet.bytes.get(20), Some(6 | 17 | 58))
                    && event.ends.iter().any(|end| matches!(end, IpAddr::V6(end) if packet.bytes.windows(16).any(|bytes| bytes == end.octets())))
            };
            !packets.iter().any(|packet| of_both(&packet))
        };
        let chosen: Vec<&Packet> = (0..EVENTS).filter_map(|_| rng.choice(&packets)).collect();
        let mut events: Vec<Event> = chosen
            .into_iter()
            .filter_map(Event::of)
            .filter(is_usual)
            .map(|event| event.logged(&mut rng))
            .collect();
        events.sort_by_key(|event| event.at_ns);
        if events.is_empty() {
            continue;
        }
        let (store, log) = (folder.path().join("store"), folder.path().join("conn.log"));
        std::fs::write(&log, events.iter().map(Event::line).collect::<String>()).expect("written");
        import(&store, &[&truth]);
        let [store, log] = [&store, &log].map(|path| path.to_str().expect("text"));
        for window_ns in [1u64, 3_000_000, 2_000_000_000, 86_400_000_000_000] {
            let wanted = wanted(&truth, &packets, &events, window_ns);
            let window = format!("{window_ns}ns");
            for index in [&[][..], &["--no-index"][..]] {
                let common = [
                    "extract", "--view", "outer", "-o", "-", "--store", store, "--zeek", log, "--window",
                    &window,
                ];
                let output = run(common.into_iter().chain(index.iter().copied()));
                let lines: String = events.iter().map(Event::line).collect();
                assert!(!output.stdout.is_empty(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
                assert_same(&read_pcap(&output.stdout), &wanted, &format!("{window} {index:?} {lines}"));
            }
            compared += wanted.len();
        }
    }
    eprintln!("{compared} packets compared");
    assert!(compared > 0);
}

#[test]
fn some_hundred_events_are_what_tcpdump_gives_for_all_of_them_joined() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(500).frames(9);
    let packets: Vec<Packet> = (0..20_000u32)
        .map(|number| {
            // tcpdump looks behind no tag.
            let bytes = loop {
                let frame = frames.next_frame();
                if frame[12..14] != [0x81, 0x00] {
                    break frame.to_vec();
                }
            };
            Packet {
                seconds: START + number / 1000,
                nanoseconds: number % 1000 * 1_000_000,
                len: bytes.len() as u32,
                bytes,
            }
        })
        .collect();
    let truth = folder.path().join("truth.pcap");
    std::fs::write(&truth, write_pcap(ETHERNET, &packets)).expect("written");
    let mut rng = Rng::with_seed(seed());
    let events: Vec<Event> =
        packets.iter().step_by(83).filter_map(Event::of).map(|event| event.logged(&mut rng)).collect();
    assert!(events.len() > 200, "{}", events.len());
    let joined: Vec<_> = events.iter().map(|event| format!("({})", event.expression())).collect();
    let wanted = tcpdump(&truth, &joined.join(" or ")).expect("a filter");
    let (store, log) = (folder.path().join("store"), folder.path().join("conn.log"));
    std::fs::write(&log, events.iter().map(Event::line).collect::<String>()).expect("written");
    import(&store, &[&truth]);
    let [store, log] = [&store, &log].map(|path| path.to_str().expect("text"));
    let asked = ["--store", store, "--zeek", log, "--window", "1h", "--view", "outer"];
    let common = [&["extract"], &asked[..]].concat();
    let found = read_pcap(&done([&common[..], &["-o", "-"]].concat()));
    assert!(wanted.len() > events.len());
    assert_same(&found, &wanted, "joined");
    let count = done([&common[..], &["--count"]].concat());
    assert_eq!(String::from_utf8_lossy(&count).trim(), wanted.len().to_string());
    // A hold of them has the same packets, and its manifest every event.
    done([&["hold", "add", "case-7"], &asked[..]].concat());
    let held = Path::new(store).join("cases/case-7.pcap");
    assert_same(&read_pcap(&std::fs::read(held).expect("a case")), &wanted, "held");
    let manifest = std::fs::read_to_string(Path::new(store).join("cases/case-7.pcap.manifest.json"))
        .expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(
        manifest["query"]["lists"]["events"].as_array().map(Vec::len),
        Some(events.len()),
        "{manifest}"
    );
}

/// Packets of as many conversations, every fifth of which is UDP, and a millisecond between two.
fn many(count: u32) -> Vec<Packet> {
    let packet = |number: u32| {
        let [_, high, middle, low] = number.to_be_bytes();
        let ends = [([10, high, middle, low], 40_000 + (number % 7) as u16), ([10, 200, low, middle], 443)];
        let mut packet =
            tcp((START + number / 1000, number % 1000 * 1_000_000), ends, (number, 0), 0x10, b"x");
        if number.is_multiple_of(5) {
            packet.bytes[23] = 17;
        }
        packet
    };
    (0..count).map(packet).collect()
}

#[test]
fn a_hundred_thousand_events_are_one_question() {
    const PACKETS: u32 = 60_000;
    let folder = tempfile::tempdir().expect("a folder");
    let packets = many(PACKETS);
    let truth = folder.path().join("truth.pcap");
    std::fs::write(&truth, write_pcap(ETHERNET, &packets)).expect("written");
    let store = folder.path().join("store");
    import(&store, &[&truth]);
    let mut events = Vec::new();
    let mut is_wanted = vec![false; packets.len()];
    for (number, packet) in packets.iter().enumerate() {
        let event = Event::of(packet).expect("an event");
        match number % 4 {
            0 => {
                is_wanted[number] = true;
                events.push(Event {
                    ends: [event.ends[1], event.ends[0]],
                    ports: event.ports.map(|[one, other]| [other, one]),
                    ..event
                });
            }
            // Another time, other ports, another protocol.
            1 => events.push(Event { at_ns: event.at_ns + 5_000_000, ..event }),
            2 => events.push(Event { ports: Some([1, 2]), ..event }),
            _ => events.push(Event { protocol: Some("sctp"), ..event }),
        }
    }
    let nowhere = (0..40_000u32).map(|number| Event {
        ends: [Ipv4Addr::from_bits(0xc633_0000 | number).into(), Ipv4Addr::new(192, 0, 2, 1).into()],
        ports: Some([number as u16, 443]),
        protocol: Some("tcp"),
        at_ns: packets[number as usize].at_ns(),
    });
    events.extend(nowhere);
    assert_eq!(events.len(), 100_000);
    let log = folder.path().join("conn.log");
    std::fs::write(&log, events.iter().map(Event::line).collect::<String>()).expect("written");
    let wanted: Vec<Packet> = packets
        .iter()
        .zip(is_wanted)
        .filter(|(_, is_wanted)| *is_wanted)
        .map(|(packet, _)| packet.clone())
        .collect();
    let [store, log] = [&store, &log].map(|path| path.to_str().expect("text"));
    let common = ["extract", "--zeek", log, "--window", "1ms", "-o", "-"];
    let begun = std::time::Instant::now();
    let found = done([&common[..], &["--store", store]].concat());
    eprintln!("100,000 events: {:?}", begun.elapsed());
    assert_same(&read_pcap(&found), &wanted, "all of them");
    // Recorders are sent them, as far as a request may be long.
    let some: String = events.iter().take(60_000).map(Event::line).collect();
    std::fs::write(log, some).expect("written");
    let service = Service::of(store);
    let local = done([&common[..], &["--store", store]].concat());
    let remote = done([&common[..], &["--url", &format!("http://{}", service.address)]].concat());
    assert!(local == remote && read_pcap(&local).len() == 15_000);
}

#[test]
fn events_look_where_the_view_says_and_have_their_fragments() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = many(1).remove(0);
    let carried = in_vxlan(7, &plain.bytes);
    let mut first = plain.bytes.clone();
    first[20] |= 0x20; // more fragments
    let mut later = plain.bytes[..34].to_vec();
    later[21] = 1;
    later.extend_from_slice(b"the rest of it");
    let frames = [plain.bytes.clone(), carried.clone(), later, first];
    let packets: Vec<Packet> = frames
        .iter()
        .zip(0..)
        .map(|(bytes, number)| Packet {
            seconds: START,
            nanoseconds: number,
            len: bytes.len() as u32,
            bytes: bytes.clone(),
        })
        .collect();
    let truth = folder.path().join("truth.pcap");
    std::fs::write(&truth, write_pcap(ETHERNET, &packets)).expect("written");
    let store = folder.path().join("store");
    import(&store, &[&truth]);
    let inner = Event { at_ns: u64::from(START) * 1_000_000_000, ..Event::of(&plain).expect("an event") };
    let outer = Event { at_ns: inner.at_ns, ..Event::of(&packets[1]).expect("an event") };
    let log = folder.path().join("conn.log");
    let [store, log] = [&store, &log].map(|path| path.to_str().expect("text"));
    for (event, view, wanted) in [
        (&inner, "inner", &[0, 1, 2, 3][..]),
        (&inner, "outer", &[0, 3]),
        (&inner, "any", &[0, 1, 2, 3]),
        (&outer, "inner", &[]),
        (&outer, "outer", &[1]),
        (&outer, "any", &[1]),
    ] {
        std::fs::write(log, event.line()).expect("written");
        for index in [&[][..], &["--no-index"][..]] {
            let common = ["extract", "--store", store, "--zeek", log, "--view", view, "-o", "-"];
            let found = read_pcap(&done([&common[..], index].concat()));
            let wanted: Vec<Packet> = wanted.iter().map(|number| packets[*number].clone()).collect();
            assert_same(&found, &wanted, &format!("{view} {index:?} {}", event.line()));
        }
    }
}
