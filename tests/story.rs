//! What the project is for, from end to end: a mirror node wraps real traffic in a tunnel and sends it over a link whose MTU
//! does not hold it, so that its kernel cuts the datagrams into fragments; the recorder at the other end gives back the
//! conversations of an inner host as they were before they were wrapped, to the byte.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType};

use crate::support::link::{Link, wait_until};
use crate::support::packets::{Packet, link_type, read_pcap, write_pcap};
use crate::support::{captures, may_make_namespaces, run, tcpdump};

const MIRROR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RECORDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ETHERNET: u32 = 1;
/// A link that holds every wrapped packet here, and one that does not.
const WIDE_MTU: usize = 9000;
const NARROW_MTU: usize = 1500;
/// Bytes of an outer Ethernet header, of an IPv4 header without options, of a UDP header.
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
/// Longer frames do not fit the wide link together with the longest tunnel's headers.
const FRAME_BYTES_MAX: usize = 8800;
const PACKETS_MAX: usize = 3000;
const CAPTURES: usize = 3;
/// Longer frames do not fit a link of 1500 bytes together with a tunnel's headers.
const LONG_BYTES: usize = 1440;
/// Packets that may be tunnels themselves, or fragments: their innermost view is not the frame that was wrapped.
const NOT_PLAIN: &str = "proto 4 or proto 41 or proto 47 or proto 50 or proto 51 or proto 97 or proto 115 or proto 137 \
    or udp port 4789 or udp port 8472 or udp port 4790 or udp port 6081 or udp port 2152 or udp port 6635 \
    or udp port 3544 or udp port 1701 or ether proto 0x894f or ether proto 0x8847 or ether proto 0x8848 \
    or ether proto 0x8864 or ether proto 0x8100 or ether proto 0x88a8 or ip6 proto 0 or ip6 proto 60 \
    or ip[6:2] & 0x3fff != 0 or ip6 proto 44";

/// A kind of tunnel: what it is sent through, and the headers in front of a frame.
struct Tunnel {
    name: &'static str,
    carrier: Carrier,
    header: fn(&[u8]) -> Vec<u8>,
    /// Arguments that select it.
    selector: [&'static str; 2],
}

enum Carrier {
    /// IP protocol 47.
    Gre,
    /// This UDP port.
    Udp(u16),
}

const TUNNELS: [Tunnel; 4] = [
    Tunnel {
        name: "L2GRE with a key",
        carrier: Carrier::Gre,
        header: l2gre,
        selector: ["--gre-key", "0xbeef"],
    },
    Tunnel { name: "VXLAN", carrier: Carrier::Udp(4789), header: vxlan, selector: ["--vni", "5001"] },
    Tunnel {
        name: "Geneve around VXLAN",
        carrier: Carrier::Udp(6081),
        header: geneve_around_vxlan,
        selector: ["--vni", "5001"],
    },
    Tunnel { name: "ERSPAN II", carrier: Carrier::Gre, header: erspan, selector: ["--erspan-session", "99"] },
];

impl Tunnel {
    /// Bytes between the outer IP header and the frame.
    fn header_bytes(&self) -> usize {
        (self.header)(&[]).len() + if matches!(self.carrier, Carrier::Udp(_)) { UDP_BYTES } else { 0 }
    }

    /// How many packets the kernel makes of one: RFC 791, section 3.2.
    fn fragments(&self, packet: &Packet, mtu: usize) -> u64 {
        let bytes = self.header_bytes() + packet.bytes.len();
        let room = mtu - IPV4_BYTES;
        if bytes <= room { 1 } else { bytes.div_ceil(room / 8 * 8) as u64 }
    }

    /// The frames that were wrapped, out of what the link carried, whose fragments follow each other.
    fn unwrap(&self, carried: &[Packet]) -> Vec<Packet> {
        let (mut frames, mut payload) = (Vec::new(), Vec::new());
        for packet in carried {
            let ip = &packet.bytes[ETHERNET_BYTES..];
            let fragment = u16::from_be_bytes([ip[6], ip[7]]);
            let (more, offset) = (fragment & 0x2000 != 0, usize::from(fragment & 0x1fff) * 8);
            assert_eq!(payload.len(), offset, "{}: a fragment is missing or out of place", self.name);
            payload.extend_from_slice(&ip[IPV4_BYTES..]);
            if !more {
                let bytes = std::mem::take(&mut payload).split_off(self.header_bytes());
                frames.push(Packet { len: bytes.len() as u32, bytes, ..packet.clone() });
            }
        }
        assert!(payload.is_empty(), "{}: the last fragment is missing", self.name);
        frames
    }
}

fn l2gre(_: &[u8]) -> Vec<u8> {
    vec![0x20, 0, 0x65, 0x58, 0, 0, 0xbe, 0xef]
}

fn vxlan(_: &[u8]) -> Vec<u8> {
    let mut header = vec![0x08, 0, 0, 0];
    header.extend((5001u32 << 8).to_be_bytes());
    header
}

/// As a gateway load balancer sends it: Geneve with three options carries the IP packet that carries VXLAN.
fn geneve_around_vxlan(frame: &[u8]) -> Vec<u8> {
    let mut header = vec![8, 0, 8, 0, 0, 0, 0, 0]; // 32 bytes of options; IPv4
    header.extend([0x01, 0x08, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    header.extend([0x01, 0x08, 2, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    header.extend([0x01, 0x08, 3, 1, 9, 9, 9, 9]);
    let udp_bytes = (8 + 8 + frame.len()) as u16;
    header.extend([0x45, 0]);
    header.extend((20 + udp_bytes).to_be_bytes());
    header.extend([0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2]);
    header.extend([0xc0, 0x01, 0x12, 0xb5]);
    header.extend(udp_bytes.to_be_bytes());
    header.extend([0, 0]);
    header.extend(vxlan(frame));
    header
}

fn erspan(_: &[u8]) -> Vec<u8> {
    vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 7, 0x10, 0x05, 0, 99, 0, 0, 0, 1]
}

/// Sends every packet through sockets of the kernel, which cuts what does not fit the link.
fn send(namespace: &Path, tunnel: &Tunnel, packets: &[Packet]) {
    let namespace = std::fs::File::open(namespace).expect("a namespace");
    let wrap = |packet: &Packet| [(tunnel.header)(&packet.bytes), packet.bytes.clone()].concat();
    let in_namespace = || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
            .expect("entered");
        match tunnel.carrier {
            Carrier::Udp(port) => {
                let socket = UdpSocket::bind((MIRROR, 0)).expect("a socket");
                let send = |packet| socket.send_to(&wrap(packet), (RECORDER, port)).expect("sent");
                packets.iter().for_each(|packet| assert!(send(packet) > 0));
            }
            Carrier::Gre => {
                let protocol = Protocol::from_raw(47.try_into().expect("not zero"));
                let flags = SocketFlags::CLOEXEC;
                let socket =
                    rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(protocol));
                let socket = socket.expect("a raw socket");
                let to = SocketAddrV4::new(RECORDER, 0);
                let send = |packet| rustix::net::sendto(&socket, &wrap(packet), SendFlags::empty(), &to);
                packets.iter().for_each(|packet| assert!(send(packet).expect("sent") > 0));
            }
        }
    };
    // A thread of its own: it stays in the namespace.
    std::thread::scope(|scope| scope.spawn(in_namespace).join()).expect("all sent");
}

/// A mirror node, a link and a place to record into.
struct Scene {
    folder: tempfile::TempDir,
    link: Link,
    mtu: usize,
}

impl Scene {
    fn new(mtu: usize) -> Option<Self> {
        if !may_make_namespaces() {
            return None;
        }
        let link = Link::new();
        // The recorder's interface has no address: its kernel answers nothing, and nothing but the mirror is on the link.
        link.ip_of_sender(&["address", "add", &format!("{MIRROR}/24"), "dev", "tx0"]);
        link.ip_of_sender(&["link", "set", "tx0", "mtu", &mtu.to_string()]);
        let neighbour =
            ["neighbour", "add", &RECORDER.to_string(), "lladdr", "02:00:00:00:00:07", "dev", "tx0"];
        link.ip_of_sender(&neighbour);
        Some(Self { folder: tempfile::tempdir().expect("a folder"), link, mtu })
    }

    fn store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name.replace(' ', "-"))
    }

    /// Packets of a real capture that a mirror can carry, and a file of just these.
    fn capture(&self, file: &Path) -> Option<(PathBuf, Vec<Packet>)> {
        let truth = Command::new("tcpdump").args(["--nano", "-w", "-", "-r"]).arg(file).output().ok()?;
        if truth.stdout.len() <= 24 || link_type(&truth.stdout) != ETHERNET {
            return None;
        }
        let mut packets = read_pcap(&truth.stdout);
        packets.truncate(PACKETS_MAX);
        packets.retain(|packet| (ETHERNET_BYTES..=FRAME_BYTES_MAX).contains(&packet.bytes.len()));
        // What the capture has of a packet is what is mirrored.
        packets.iter_mut().for_each(|packet| packet.len = packet.bytes.len() as u32);
        let plain = self.folder.path().join("plain.pcap");
        std::fs::write(&plain, write_pcap(ETHERNET, &packets)).expect("written");
        let long = packets.iter().filter(|packet| packet.bytes.len() > LONG_BYTES).count();
        (packets.len() >= 100 && long >= 10 && tcpdump(&plain, NOT_PLAIN).ok()?.is_empty())
            .then_some((plain, packets))
    }
}

/// The most frequent IPv4 address, and one that is rare.
fn hosts(packets: &[Packet]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<Ipv4Addr, usize>::new();
    for packet in packets.iter().filter(|packet| packet.bytes.get(12..14) == Some(&[8, 0])) {
        let sender: Option<[u8; 4]> = packet.bytes.get(26..30).and_then(|it| it.try_into().ok());
        *counts.entry(sender.unwrap_or_default().into()).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count);
    let least = counts.iter().min_by_key(|(_, count)| **count);
    most.into_iter().chain(least).map(|(address, _)| format!("host {address}")).collect()
}

fn answer<S: AsRef<str>>(store: &Path, arguments: &[S]) -> Vec<Packet> {
    let store = store.display().to_string();
    let arguments = arguments.iter().map(AsRef::as_ref);
    let output = run(["extract", "--store", &store, "-o", "-"].into_iter().chain(arguments));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    read_pcap(&output.stdout)
}

fn assert_same_bytes(found: &[Packet], wanted: &[Packet], what: &str) {
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let is_same = found.len == wanted.len && found.bytes == wanted.bytes;
        assert!(is_same, "{what}: packet {i} is\n  {found:?}\nand should be\n  {wanted:?}");
    }
    assert_eq!(found.len(), wanted.len(), "{what}: as many packets");
}

/// What tcpdump finds of a capture's hosts, and the questions that must find the same in the store.
fn questions(tunnel: &Tunnel, plain: &Path, packets: &[Packet]) -> Vec<(Vec<String>, Vec<Packet>)> {
    let both = |host: String| {
        let wanted = tcpdump(plain, &host).expect("tcpdump reads it");
        assert!(!wanted.is_empty(), "{host}");
        let question = vec!["--filter".to_owned(), host];
        let selected = [&question[..], &tunnel.selector.map(str::to_owned)].concat();
        [(question, wanted.clone()), (selected, wanted)]
    };
    hosts(packets).into_iter().flat_map(both).collect()
}

/// Asks for the hosts of a capture that is recorded in a tunnel, as the link carried them.
fn ask(store: &Path, tunnel: &Tunnel, plain: &Path, packets: &[Packet]) {
    for (question, wanted) in questions(tunnel, plain, packets) {
        let found = tunnel.unwrap(&answer(store, &question));
        assert_same_bytes(&found, &wanted, &format!("{}, {question:?}", tunnel.name));
    }
}

/// What tshark sees in the packets of a file, and whether it calls them malformed.
fn tshark_fields(file: &Path) -> String {
    // Without what tshark concludes from times and other packets.
    let fields = ["frame.len", "eth.src", "ip.src", "ip.len", "udp.length", "tcp.seq_raw"];
    let fields = fields.iter().chain(&["tcp.len", "_ws.malformed"]).flat_map(|field| ["-e", field]);
    let output = Command::new("tshark")
        .args(["-n", "-o", "tcp.desegment_tcp_streams:FALSE", "-T", "fields", "-r"])
        .arg(file)
        .args(fields)
        .output()
        .expect("tshark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// tshark reads the decapsulated file as it reads the capture before it was wrapped.
fn read_with_tshark(scene: &Scene, store: &Path, tunnel: &Tunnel, plain: &Path) {
    let file = scene.folder.path().join("decapsulated.pcap");
    let (store, output) = (store.display().to_string(), file.display().to_string());
    let done = run(["extract", "--store", &store, "--decapsulate", "-o", &output]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let (found, wanted) = (tshark_fields(&file), tshark_fields(plain));
    for (number, (found, wanted)) in found.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(found, wanted, "{}: packet {}", tunnel.name, number + 1);
    }
    assert_eq!(found.lines().count(), wanted.lines().count(), "{}", tunnel.name);
}

/// Asks for them as they were before they were wrapped.
fn ask_decapsulated(store: &Path, tunnel: &Tunnel, plain: &Path, packets: &[Packet]) {
    assert_same_bytes(&answer(store, &["--decapsulate"]), packets, tunnel.name);
    for (mut question, wanted) in questions(tunnel, plain, packets) {
        question.push("--decapsulate".to_owned());
        assert_same_bytes(&answer(store, &question), &wanted, &format!("{}, {question:?}", tunnel.name));
    }
}

/// Records one capture in every tunnel and asks for its hosts; says how many packets were longer than the link.
fn tell(scene: &Scene, title: &str, plain: &Path, packets: &[Packet]) -> usize {
    let mut cut = 0;
    for tunnel in &TUNNELS {
        let store = scene.store(&format!("{title} {}", tunnel.name));
        let fragments = packets.iter().map(|packet| tunnel.fragments(packet, scene.mtu));
        cut += fragments.clone().filter(|count| *count > 1).count();
        let carried: u64 = fragments.sum();
        let recording = scene.link.record(&store, &[]);
        send(&scene.link.sender_namespace(), tunnel, packets);
        wait_until("all is at hand", || answer(&store, &["--view", "outer"]).len() as u64 >= carried);
        let account = recording.stop();
        assert_eq!(account["dropped"]["kernel"].as_u64(), Some(0), "{}: {account}", tunnel.name);
        assert_eq!(account["received"].as_u64(), Some(carried), "{}: {account}", tunnel.name);
        assert_eq!(account["received"], account["written"], "{}: {account}", tunnel.name);
        let carried = answer(&store, &["--view", "outer"]);
        assert_same_bytes(&tunnel.unwrap(&carried), packets, tunnel.name);
        ask(&store, tunnel, plain, packets);
        ask_decapsulated(&store, tunnel, plain, packets);
        read_with_tshark(scene, &store, tunnel, plain);
    }
    cut
}

/// Tells the story of the first captures that have what it takes; says how many packets were longer than the link.
fn tell_over(mtu: usize) -> Option<usize> {
    let (scene, captures) = (Scene::new(mtu)?, captures()?);
    let mut cut = Vec::new();
    for file in &captures {
        let Some((plain, packets)) = scene.capture(file) else { continue };
        cut.push(tell(&scene, &format!("capture {}", cut.len()), &plain, &packets));
        if cut.len() == CAPTURES {
            return Some(cut.iter().sum());
        }
    }
    panic!("{} captures have enough plain packets", cut.len());
}

#[test]
fn a_mirrored_host_is_found_as_it_was_before_it_was_wrapped() {
    if let Some(cut) = tell_over(WIDE_MTU) {
        assert_eq!(cut, 0, "the link holds everything");
    }
}

#[test]
fn a_mirrored_host_is_found_where_the_link_cuts_the_tunnels_packets() {
    if let Some(cut) = tell_over(NARROW_MTU) {
        assert!(cut > 100, "{cut} packets came in fragments");
    }
}
