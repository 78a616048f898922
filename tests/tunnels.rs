//! Mirrored traffic that arrives in tunnels is answered as if the tunnel had ended before the recorder: as tcpdump does
//! on the capture from before it was wrapped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fastrand::Rng;

use crate::support::packets::{Packet, assert_same, link_type, read_pcap, read_pcapng, write_pcap};
use crate::support::{captures, done, import, run, seed, tcpdump};

const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const CAPTURES: usize = 10;
const PACKETS_MAX: usize = 2000;
/// Longer ones do not fit an outer IPv4 header together with the tunnel's.
const PACKET_BYTES_MAX: u32 = 60_000;

/// Packets that may be tunnels themselves: the innermost view of those is another than the one that was wrapped.
const TUNNELS: &str = "proto 4 or proto 41 or proto 47 or proto 51 or proto 97 or proto 115 or proto 137 \
    or udp port 4789 or udp port 8472 or udp port 4790 or udp port 6081 or udp port 2152 or udp port 6635 \
    or udp port 3544 or udp port 1701 or ether proto 0x894f or ether proto 0x8847 or ether proto 0x8848 \
    or ether proto 0x8864 or ether proto 0x8100 or ether proto 0x88a8 or ip6 proto 0 or ip6 proto 60";

const SENDER: [u8; 4] = [192, 0, 2, 1];
const COLLECTOR: [u8; 4] = [192, 0, 2, 2];
const GRE_KEY: u32 = 0xbeef;
const VXLAN_VNI: u32 = 5001;
const GENEVE_VNI: u32 = 77;
const ERSPAN_SESSION: u16 = 99;

/// The headers in front of a frame of so many bytes.
type Wrap = fn(u32) -> Vec<u8>;

/// How a packet is wrapped, and the arguments that select it.
const WRAPPINGS: [(Wrap, [&str; 2]); 4] = [
    (gre, ["--gre-key", "0xbeef"]),
    (vxlan, ["--vni", "5001"]),
    (geneve, ["--vni", "0x4d"]),
    (erspan, ["--erspan-session", "99"]),
];

fn ethernet_and_ipv4(protocol: u8, payload_bytes: u32) -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    header.extend(u16::try_from(20 + payload_bytes).expect("a short packet").to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(SENDER);
    header.extend(COLLECTOR);
    header
}

/// In front of a frame of so many bytes: GRE with a key.
fn gre(len: u32) -> Vec<u8> {
    let mut header = ethernet_and_ipv4(47, 8 + len);
    header.extend([0x20, 0, 0x65, 0x58]);
    header.extend(GRE_KEY.to_be_bytes());
    header
}

fn udp(port: u16, len: u32) -> Vec<u8> {
    let mut header = ethernet_and_ipv4(17, 8 + len);
    header.extend((0xc000 | len as u16).to_be_bytes());
    header.extend(port.to_be_bytes());
    header.extend(u16::try_from(8 + len).expect("a short packet").to_be_bytes());
    header.extend([0, 0]);
    header
}

fn vxlan(len: u32) -> Vec<u8> {
    let mut header = udp(4789, 8 + len);
    header.extend([0x08, 0, 0, 0]);
    header.extend((VXLAN_VNI << 8).to_be_bytes());
    header
}

fn geneve(len: u32) -> Vec<u8> {
    let mut header = udp(6081, 8 + 4 + len);
    header.extend([1, 0, 0x65, 0x58]);
    header.extend((GENEVE_VNI << 8).to_be_bytes());
    header.extend([1, 2, 3, 0]); // an option without data
    header
}

/// GRE with a sequence number, then ERSPAN II.
fn erspan(len: u32) -> Vec<u8> {
    let mut header = ethernet_and_ipv4(47, 8 + 8 + len);
    header.extend([0x10, 0, 0x88, 0xbe, 0, 0, 0, 7]);
    header.extend([0x10, 0x05]);
    header.extend(ERSPAN_SESSION.to_be_bytes());
    header.extend([0, 0, 0, 1]);
    header
}

fn behind(mut header: Vec<u8>, packet: &Packet) -> Packet {
    let len = packet.len + header.len() as u32;
    header.extend_from_slice(&packet.bytes);
    Packet { bytes: header, len, ..packet.clone() }
}

/// A store of wrapped packets, and what they were.
struct Subject {
    folder: tempfile::TempDir,
    store: String,
    plain: PathBuf,
    packets: Vec<Packet>,
}

impl Subject {
    /// Wraps a capture's packets in turn; `None` where tcpdump cannot tell what the answer has to be.
    fn of_capture(file: &Path) -> Option<Self> {
        let truth = Command::new("tcpdump").args(["--nano", "-w", "-", "-r"]).arg(file).output().ok()?;
        if truth.stdout.len() <= 24 || link_type(&truth.stdout) != ETHERNET {
            return None;
        }
        let mut packets = read_pcap(&truth.stdout);
        packets.truncate(PACKETS_MAX);
        let is_sound = |packet: &Packet| {
            let caplen = packet.bytes.len() as u32;
            (14..=PACKET_BYTES_MAX).contains(&caplen) && (caplen..=PACKET_BYTES_MAX).contains(&packet.len)
        };
        packets.retain(is_sound);
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("plain.pcap");
        std::fs::write(&plain, write_pcap(ETHERNET, &packets)).expect("written");
        if packets.len() < 8 || !tcpdump(&plain, TUNNELS).ok()?.is_empty() {
            return None;
        }
        let wrapped = packets.iter().zip(WRAPPINGS.iter().cycle());
        let wrapped: Vec<_> = wrapped.map(|(packet, (wrap, _))| behind(wrap(packet.len), packet)).collect();
        let store = store_of(&folder, "wrapped", &wrapped);
        Some(Self { folder, store, plain, packets })
    }

    fn extract(&self, arguments: &[&str]) -> Output {
        run(["extract", "--store", &self.store].iter().chain(arguments))
    }

    fn packets(&self, arguments: &[&str]) -> Vec<Packet> {
        let output = self.extract(&[arguments, &["-o", "-"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        read_pcap(&output.stdout)
    }

    /// `host` and the address of a random packet's sender.
    fn host(&self, rng: &mut Rng) -> Option<String> {
        let packet = &self.packets[rng.usize(..self.packets.len())].bytes;
        let address: [u8; 4] = packet.get(26..30)?.try_into().ok()?;
        (packet[12..14] == [8, 0]).then(|| format!("host {}", std::net::Ipv4Addr::from(address)))
    }

    fn check(&self, rng: &mut Rng) {
        let filter = self.host(rng).unwrap_or_else(|| "not ip".to_owned());
        let wanted = in_order(tcpdump(&self.plain, &filter).expect("a filter"));
        for index in [&[][..], &["--no-index"]] {
            let arguments = [&["--filter", &filter, "--decapsulate"], index].concat();
            assert_same(
                &self.packets(&arguments),
                &wanted,
                &format!("{} {arguments:?}", self.plain.display()),
            );
        }
        let outer = self.extract(&["--filter", &filter, "--view", "outer", "--count"]);
        assert_eq!(String::from_utf8_lossy(&outer.stdout).trim(), "0", "{filter}");
        let said = String::from_utf8_lossy(&outer.stderr).into_owned();
        assert!(wanted.is_empty() || said.contains("with --view inner there "), "{filter}: {said}");
        assert!(!wanted.is_empty() || !said.contains("there would be"), "{filter}: {said}");
        for (place, (_, select)) in WRAPPINGS.iter().enumerate() {
            let wrapped_so: Vec<_> =
                self.packets.iter().skip(place).step_by(WRAPPINGS.len()).cloned().collect();
            let wrapped_so = in_order(wrapped_so);
            assert_same(&self.packets(&[&select[..], &["--decapsulate"]].concat()), &wrapped_so, select[0]);
        }
        let all = self.packets.len().to_string();
        for (peer, count) in [("192.0.2.2", all.as_str()), ("192.0.2.3", "0"), ("2001:db8::1", "0")] {
            let counted = self.extract(&["--tunnel-peer", peer, "--count"]).stdout;
            assert_eq!(String::from_utf8_lossy(&counted).trim(), count, "{peer}");
        }
    }

    /// tshark sees in the answer what it sees in the capture from before.
    fn check_with_tshark(&self) {
        let answer = self.folder.path().join("inner.pcap");
        let file = answer.display().to_string();
        done(["extract", "--store", &self.store, "--decapsulate", "-o", &file]);
        let sorted = self.folder.path().join("sorted.pcap");
        std::fs::write(&sorted, write_pcap(ETHERNET, &in_order(self.packets.clone()))).expect("written");
        let summary = |file: &Path| {
            let fields =
                ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.protocols"];
            let output =
                Command::new("tshark").arg("-nr").arg(file).args(fields).output().expect("installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(summary(&answer), summary(&sorted));
    }
}

fn in_order(mut packets: Vec<Packet>) -> Vec<Packet> {
    packets.sort_by_key(Packet::at_ns);
    packets
}

fn store_of(folder: &tempfile::TempDir, name: &str, packets: &[Packet]) -> String {
    let file = folder.path().join(format!("{name}.pcap"));
    std::fs::write(&file, write_pcap(ETHERNET, packets)).expect("written");
    let store = folder.path().join(name);
    import(&store, &[&file]);
    store.display().to_string()
}

#[test]
fn wrapped_captures_answer_as_if_they_were_not() {
    let Some(captures) = captures() else { return };
    let mut rng = Rng::with_seed(seed());
    let mut captures = captures;
    rng.shuffle(&mut captures);
    let subjects = captures.iter().filter_map(|file| Subject::of_capture(file)).take(CAPTURES);
    let mut checked = 0;
    for subject in subjects {
        subject.check(&mut rng);
        if checked < 2 {
            subject.check_with_tshark();
        }
        checked += 1;
    }
    assert_eq!(checked, CAPTURES);
}

/// An Ethernet frame in VXLAN, an IP packet in IP, and a frame in nothing.
fn mixed() -> [Packet; 3] {
    let frame = Packet {
        seconds: 1_700_000_000,
        nanoseconds: 7,
        len: 60,
        bytes: [ethernet_and_ipv4(6, 26), vec![0; 26]].concat(),
    };
    let packet = Packet { bytes: frame.bytes[14..].to_vec(), len: 46, seconds: frame.seconds + 1, ..frame };
    let plain = Packet { seconds: frame.seconds + 2, ..frame.clone() };
    [behind(vxlan(60), &frame), behind(ethernet_and_ipv4(4, 46), &packet), plain]
}

#[test]
fn a_pcap_file_cannot_hold_frames_and_packets_and_a_pcapng_file_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of(&folder, "mixed", &mixed());
    let arguments = ["extract", "--store", &store, "--decapsulate", "-o", "-", "--format"];
    let refused = run(arguments.iter().chain(&["pcap"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--format pcapng"));
    let found = read_pcapng(&done(arguments.iter().chain(&["pcapng"])));
    let kinds: Vec<_> =
        found.iter().map(|(link_type, packet)| (*link_type, packet.bytes.len(), packet.len)).collect();
    assert_eq!(kinds, [(ETHERNET, 60, 60), (RAW, 46, 46), (ETHERNET, 60, 60)]);
    let whole = read_pcap(&done(["extract", "--store", &store, "-o", "-"]));
    assert_same(&whole, &mixed(), "as they are");
}

#[test]
fn a_number_of_a_tunnel_that_cannot_be_is_wrong_usage() {
    for arguments in
        [["--vni", "0x1000000"], ["--erspan-session", "1024"], ["--gre-key", "x"], ["--tunnel-peer", "a"]]
    {
        let output = run(["extract", "--store", "nowhere", "--count"].iter().chain(&arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
