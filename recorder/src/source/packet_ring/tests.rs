//! Live interfaces: veth pairs in network namespaces of their own. Held against what was sent.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use netrewind_store::clock::{Clock, SystemClock};
use netrewind_store::{LinkType, RecordHeader};

use super::{
    CaptureFilter, Claims, CompiledFilter, KernelMetadata, PacketRing, RING_RETIRE_MS, RingConfig, SockFilter,
};
use crate::source::{Received, Source, SourceError};
use crate::sys::interfaces;
use crate::sys::packet_socket::{Framing, PacketSocket};

/// A namespace with the pair `a0` - `a1`, which this thread is in.
struct Namespace(String);

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

impl Namespace {
    /// `None`, with a message, where the test cannot run.
    fn enter(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, to make network namespaces");
            return None;
        }
        let name = format!("nr-recorder-{test}-{}", std::process::id());
        let this = Self(name.clone());
        if !ip(&format!("netns add {name}")) {
            println!("skipped: cannot make network namespaces");
            return None;
        }
        let namespace = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").ok();
        this.make_pair();
        Some(this)
    }

    fn make_pair(&self) {
        assert!(ip(&format!("-n {} link add a0 type veth peer name a1", self.0)));
        self.run("link set a0 mtu 9000 up");
        self.run("link set a1 mtu 9000 up");
        self.run("link set lo up");
    }

    fn run(&self, arguments: &str) {
        assert!(ip(&format!("-n {} {arguments}", self.0)), "ip {arguments}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

fn small(interface: &str) -> RingConfig {
    RingConfig { block_bytes: 1 << 18, blocks: 8, ..RingConfig::new(interface) }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn open(config: &RingConfig) -> PacketRing {
    PacketRing::open(config, 1, &clock()).unwrap().pop().unwrap()
}

fn sender(interface: &str) -> PacketSocket {
    let socket = PacketSocket::open(Framing::Raw).unwrap();
    socket.bind(interfaces::number_of(interface).unwrap()).unwrap();
    socket
}

/// A filter of which the kernel gets the program, and which is this where the kernel does not accept it.
#[derive(Clone)]
struct Fixed(Vec<SockFilter>, fn(&[u8], u32, &KernelMetadata) -> bool);

impl CaptureFilter for Fixed {
    fn compiled(&self, _: &str, _: LinkType) -> Result<Option<Arc<dyn CompiledFilter>>, String> {
        Ok(Some(Arc::new(self.clone())))
    }
}

impl CompiledFilter for Fixed {
    fn program(&self) -> &[SockFilter] {
        &self.0
    }
    fn accepts(&self, packet: &[u8], wire_len: u32, metadata: &KernelMetadata) -> bool {
        self.1(packet, wire_len, metadata)
    }
}

fn filtered(config: RingConfig, filter: Fixed) -> RingConfig {
    RingConfig { capture_filter: Some(Arc::new(filter)), ..config }
}

/// Everything that has arrived and will.
fn receive_all(ring: &mut PacketRing) -> Vec<(RecordHeader, Vec<u8>)> {
    let mut packets = Vec::new();
    ring.stop().unwrap();
    loop {
        let received = ring.receive(Duration::from_millis(200), &mut |packet| {
            let tag = packet.tag.map_or(Vec::new(), |tag| tag.to_vec());
            let bytes = [packet.head, &tag, packet.tail].concat();
            assert_eq!(packet.header.caplen as usize, bytes.len());
            packets.push((packet.header, bytes));
        });
        if received.unwrap() == Received::Quiet {
            return packets;
        }
    }
}

/// An Ethernet frame of `length` bytes with this behind its addresses.
fn frame(after_addresses: &[u8], length: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    frame.extend_from_slice(after_addresses);
    (frame.len()..length).for_each(|i| frame.push(i as u8));
    frame
}

/// A UDP packet over IPv4 in a frame.
fn udp(source: [u8; 4], destination: [u8; 4], source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut packet = vec![8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([source, destination].concat());
    packet.extend([source_port.to_be_bytes(), destination_port.to_be_bytes(), [0, 26], [0, 0]].concat());
    frame(&packet, 60)
}

#[test]
fn frames_come_as_they_were_sent_with_their_tags() {
    let Some(_namespace) = Namespace::enter("tags") else { return };
    let mut ring = open(&small("a1"));
    assert_eq!((ring.name(), ring.link_type()), ("a1", Some(LinkType::ETHERNET)));
    let frames = [
        frame(&[0x08, 0x00], 60),
        frame(&[0x81, 0x00, 0xb0, 0x05, 0x08, 0x00], 100), // priority 5, drop eligible, VLAN 5
        frame(&[0x81, 0x00, 0x00, 0x00, 0x08, 0x00], 64),  // a tag all of zeros
        frame(&[0x88, 0xa8, 0xe0, 0x64, 0x81, 0x00, 0x20, 0xc8, 0x08, 0x06], 1522), // 802.1ad over 802.1Q
        frame(&[0x81, 0x00, 0x0f, 0xff, 0x81, 0x00, 0x00, 0x01, 0x81, 0x00, 0x00, 0x02, 0x86, 0xdd], 80),
        frame(&[0x88, 0x47, 0, 1, 0x41, 64], 9014),
        frame(&[0x08, 0x00], 14),
    ];
    let socket = sender("a0");
    frames.iter().for_each(|frame| socket.send(frame).unwrap());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let packets = receive_all(&mut ring);
    assert_eq!(packets.len(), frames.len());
    for ((header, bytes), sent) in packets.iter().zip(&frames) {
        assert_eq!(bytes, sent);
        assert_eq!(header.len as usize, sent.len());
        assert!(header.timestamp().ns().abs_diff(now) < 10_000_000_000);
    }
    assert!(packets.is_sorted_by_key(|(header, _)| header.timestamp()));
    let counters = ring.counters().unwrap();
    assert_eq!((counters.received, counters.dropped), (frames.len() as u64, 0));
    assert_eq!(ring.counters().unwrap(), counters, "reading does not count again");
}

#[test]
fn the_kernel_cuts_and_filters() {
    let Some(_namespace) = Namespace::enter("filter") else { return };
    // ether proto 0x0806
    let only_arp: [SockFilter; 4] =
        [(0x28, 0, 0, 12), (0x15, 0, 1, 0x0806), (0x06, 0, 0, 262_144), (0x06, 0, 0, 0)];
    let mut all = open(&RingConfig { snaplen: 50, ..small("a1") });
    let in_kernel = Fixed(only_arp.to_vec(), |_, _, _| false);
    let mut arp = open(&filtered(RingConfig { snaplen: 40, ..small("a1") }, in_kernel));
    let socket = sender("a0");
    for kind in [[0x08, 0x06], [0x08, 0x00], [0x08, 0x06]] {
        socket.send(&frame(&kind, 60)).unwrap();
    }
    let lengths = |packets: &[(RecordHeader, Vec<u8>)]| -> Vec<_> {
        packets.iter().map(|(header, bytes)| (bytes.len(), header.len)).collect()
    };
    assert_eq!(lengths(&receive_all(&mut all)), [(50, 60); 3]);
    assert_eq!(lengths(&receive_all(&mut arp)), [(40, 60); 2]);
    assert_eq!(arp.counters().unwrap().received, 2, "what the filter rejects was never received");
}

#[test]
fn a_full_ring_drops_and_everything_adds_up() {
    let Some(_namespace) = Namespace::enter("full") else { return };
    let mut ring = open(&RingConfig { block_bytes: 1 << 16, blocks: 2, ..RingConfig::new("a1") });
    let socket = sender("a0");
    assert_eq!(fill(&mut ring), (2, 0, 0), "nothing has come");
    (0..1000).for_each(|_| socket.send(&frame(&[8, 0], 1000)).unwrap());
    let packets = receive_all(&mut ring);
    let counters = ring.counters().unwrap();
    assert!(counters.dropped > 500, "{counters:?}");
    assert_eq!(
        counters,
        crate::source::SourceCounters { received: 1000, dropped: 1000 - packets.len() as u64 }
    );
    assert_eq!(fill(&mut ring), (2, 2, 1), "both blocks were full, and there was no other");
    assert_eq!(fill(&mut ring), (2, 0, 0), "since the last look");
}

fn fill(ring: &mut PacketRing) -> (u32, u32, u64) {
    let fill = ring.take_ring().unwrap();
    (fill.blocks, fill.filled_max, fill.freezes)
}

#[test]
fn the_filled_blocks_are_counted_wherever_they_begin() {
    let Some(_namespace) = Namespace::enter("filled") else { return };
    let blocks = 7;
    let mut ring = open(&RingConfig { block_bytes: 1 << 16, blocks, ..RingConfig::new("a1") });
    let socket = sender("a0");
    for wanted in (1..blocks).chain([3, 5, 2, 6]) {
        // A block holds sixty of these; one that is not full is handed over after a while.
        (0..59 * wanted).for_each(|_| socket.send(&frame(&[8, 0], 1000)).unwrap());
        std::thread::sleep(Duration::from_millis(4 * u64::from(RING_RETIRE_MS)));
        let mut packets = 0;
        while ring.receive(Duration::ZERO, &mut |_| packets += 1).unwrap() != Received::Quiet {}
        assert_eq!(packets, 59 * wanted);
        let (_, filled, freezes) = fill(&mut ring);
        assert!((wanted..=wanted + 1).contains(&filled) && freezes == 0, "{filled} of {wanted}");
    }
}

#[test]
fn loopback_is_not_doubled() {
    let Some(_namespace) = Namespace::enter("lo") else { return };
    for lanes in [1, 3] {
        let mut rings = PacketRing::open(&small("lo"), lanes, &clock()).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..20 {
            socket.send_to(b"once", socket.local_addr().unwrap()).unwrap();
        }
        let packets: Vec<_> = rings.iter_mut().flat_map(receive_all).collect();
        assert_eq!(packets.len(), 20, "{lanes} lanes");
        assert!(packets.iter().all(|(_, bytes)| bytes.ends_with(b"once") && bytes.len() == 46));
    }
}

#[test]
fn lanes_share_packets_and_keep_conversations_together() {
    let Some(_namespace) = Namespace::enter("fanout") else { return };
    let mut rings = PacketRing::open(&small("a1"), 3, &clock()).unwrap();
    let socket = sender("a0");
    for port in 0..200 {
        socket.send(&udp([10, 0, 0, 1], [10, 0, 0, 2], 10_000 + port, 53)).unwrap();
        socket.send(&udp([10, 0, 0, 2], [10, 0, 0, 1], 53, 10_000 + port)).unwrap();
    }
    let lanes: Vec<_> = rings.iter_mut().map(receive_all).collect();
    assert_eq!(lanes.iter().map(Vec::len).sum::<usize>(), 400, "each packet once");
    assert!(lanes.iter().all(|packets| packets.len() > 40), "every lane has its share");
    for packets in lanes {
        let port = |bytes: &[u8]| {
            let ports = [34, 36].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
            ports[0].max(ports[1])
        };
        let mut ports: Vec<_> = packets.iter().map(|(_, bytes)| port(bytes)).collect();
        ports.sort_unstable();
        assert!(ports.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]), "both directions");
    }
}

#[test]
fn the_interface_is_promiscuous_as_long_as_it_is_recorded() {
    let Some(namespace) = Namespace::enter("promisc") else { return };
    let promiscuity = || {
        let arguments = ["-n", &namespace.0, "-d", "link", "show", "a1"];
        let output = Command::new("ip").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains("promiscuity 1")
    };
    let ring = open(&small("a1"));
    assert!(promiscuity());
    drop(ring);
    assert!(!promiscuity());
    let _ring = open(&RingConfig { is_promiscuous: false, use_hardware_timestamps: true, ..small("a1") });
    assert!(!promiscuity());
}

#[test]
fn an_interface_that_goes_comes_back() {
    let Some(namespace) = Namespace::enter("down") else { return };
    let mut rings = PacketRing::open(&small("a1"), 2, &clock()).unwrap();
    let mut received = 0;
    let mut until = |rings: &mut [PacketRing], wants_error: bool, wanted: u64| {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut are_done = vec![false; rings.len()];
        while are_done.contains(&false) || received < wanted {
            assert!(Instant::now() < deadline, "{wants_error} {wanted} {received}");
            for (ring, is_done) in rings.iter_mut().zip(&mut are_done) {
                let result = ring.receive(Duration::from_millis(20), &mut |_| received += 1);
                *is_done = match result {
                    Err(SourceError::System { what, .. }) => {
                        assert!(what.contains("a1: the interface is"), "{what}");
                        wants_error
                    }
                    Err(error) => panic!("{error}"),
                    Ok(_) => !wants_error,
                };
            }
        }
    };
    sender("a0").send(&udp([1, 1, 1, 1], [2, 2, 2, 2], 1, 2)).unwrap();
    until(&mut rings, false, 1);
    namespace.run("link set a1 down");
    until(&mut rings, true, 1);
    namespace.run("link set a1 up");
    until(&mut rings, false, 1);
    sender("a0").send(&udp([1, 1, 1, 1], [2, 2, 2, 2], 1, 2)).unwrap();
    until(&mut rings, false, 2);
    namespace.run("link del a1");
    until(&mut rings, true, 2);
    namespace.make_pair();
    until(&mut rings, false, 2);
    let socket = sender("a0");
    (0..50).for_each(|port| socket.send(&udp([1, 1, 1, 1], [2, 2, 2, 2], port, 2)).unwrap());
    until(&mut rings, false, 52);
    until(&mut rings, false, 52);
    let counted: u64 = rings.iter_mut().map(|ring| ring.counters().unwrap().received).sum();
    assert_eq!(counted, 52, "over both sockets of each lane");
}

/// Receives until there are as many packets in all, or the ring is in trouble where that is wanted.
fn until(ring: &mut PacketRing, wants_trouble: bool, received: &mut Vec<Vec<u8>>, wanted: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let result = ring.receive(Duration::from_millis(20), &mut |packet| {
            received.push([packet.head, packet.tail].concat());
        });
        if result.is_err() == wants_trouble && ring.is_down() == wants_trouble && received.len() >= wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{wants_trouble} {wanted} {}: {result:?}", received.len());
    }
}

/// Sends until one has arrived: the other end of the pair may see later that this one is up.
fn deliver(ring: &mut PacketRing, from: &str, port: u16, received: &mut Vec<Vec<u8>>) {
    let (before, deadline) = (received.len(), Instant::now() + Duration::from_secs(5));
    let socket = sender(from);
    while received.len() == before {
        assert!(Instant::now() < deadline, "nothing of port {port} arrives");
        let _ = socket.send(&udp([1, 1, 1, 1], [2, 2, 2, 2], port, 2));
        let _ = ring.receive(Duration::from_millis(50), &mut |packet| {
            received.push([packet.head, packet.tail].concat());
        });
    }
}

#[test]
fn an_interface_is_waited_for_and_is_judged_by_the_sockets_own_binding() {
    let Some(namespace) = Namespace::enter("away") else { return };
    let other = Namespace(format!("{}-x", namespace.0));
    assert!(ip(&format!("netns add {}", other.0)));
    let mut received = Vec::new();
    let mut ring = open(&small("later"));
    assert!(ring.waits_because().unwrap().contains("later: no such interface; there are: "));
    until(&mut ring, true, &mut received, 0);
    namespace.run("link set a1 down");
    namespace.run("link set a1 name later");
    namespace.run("link set later up");
    until(&mut ring, false, &mut received, 0);
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[34], bytes[35]]);
    deliver(&mut ring, "a0", 1, &mut received);
    // Away, and back with the same number: the socket does not come back by itself.
    let number = interfaces::number_of("later").unwrap();
    namespace.run(&format!("link set later netns {}", other.0));
    until(&mut ring, true, &mut received, 0);
    assert!(ip(&format!("-n {} link set later netns {}", other.0, namespace.0)));
    for _ in 0..5 {
        until(&mut ring, true, &mut received, 0);
    }
    namespace.run("link set later up");
    until(&mut ring, false, &mut received, 0);
    assert_eq!(interfaces::number_of("later").unwrap(), number);
    namespace.run("link set a0 up");
    deliver(&mut ring, "a0", 2, &mut received);
    // Under another name it is still the same interface, until another has the name.
    namespace.run("link set later down");
    until(&mut ring, true, &mut received, 0);
    namespace.run("link set later name elsewhere");
    namespace.run("link set elsewhere up");
    until(&mut ring, false, &mut received, 0);
    deliver(&mut ring, "a0", 3, &mut received);
    assert!(ring.take_notices().iter().any(|notice| notice.contains("was renamed to elsewhere")));
    namespace.run("link add later type veth peer name other");
    namespace.run("link set later up");
    namespace.run("link set other up");
    until(&mut ring, true, &mut received, 0);
    until(&mut ring, false, &mut received, 0);
    sender("a0").send(&udp([1, 1, 1, 1], [2, 2, 2, 2], 5, 2)).unwrap();
    deliver(&mut ring, "other", 4, &mut received);
    let mut ports: Vec<u16> = received.iter().map(|bytes| port(bytes)).collect();
    let counters = ring.counters().unwrap();
    assert_eq!((counters.received, counters.dropped), (ports.len() as u64, 0));
    ports.dedup();
    assert_eq!(ports, [1, 2, 3, 4]);
}

#[test]
fn an_interface_may_come_back_as_one_of_another_kind() {
    let Some(namespace) = Namespace::enter("kind") else { return };
    let mut ring = open(&small("a1"));
    let mut received = Vec::new();
    namespace.run("link del a1");
    until(&mut ring, true, &mut received, 0);
    if !ip(&format!("-n {} tuntap add a1 mode tun", namespace.0)) {
        println!("skipped: no tun interfaces");
        return;
    }
    namespace.run("link set a1 up");
    until(&mut ring, false, &mut received, 0);
    assert_eq!(ring.link_type(), Some(LinkType::RAW));
    assert!(ring.take_notices().iter().any(|notice| notice.contains("another link type")));
}

#[test]
fn an_interface_is_recorded_under_one_name() {
    let Some(namespace) = Namespace::enter("claims") else { return };
    let long = "a-name-that-is-longer-than-sixteen-bytes";
    namespace.run(&format!("link property add dev a1 altname {long}"));
    assert_eq!(interfaces::number_of(long).unwrap(), interfaces::number_of("a1").unwrap());
    assert!(interfaces::number_of("a-name-of-an-interface-that-is-not-there").is_err());
    let claims = Claims::default();
    let of = |name: &str| RingConfig { claims: claims.clone(), ..small(name) };
    let mut first = PacketRing::open(&of("a1"), 2, &clock()).unwrap();
    let mut second = open(&of(long));
    assert!(second.waits_because().unwrap().contains("the same interface as a1"));
    sender("a0").send(&udp([1, 1, 1, 1], [2, 2, 2, 2], 1, 2)).unwrap();
    let received: usize = first.iter_mut().map(|ring| receive_all(ring).len()).sum();
    assert_eq!((received, receive_all(&mut second).len()), (1, 0));
    drop(first);
    assert!(open(&of(long)).waits_because().is_none(), "it is free again");
}

#[test]
fn what_the_kernel_does_not_take_is_filtered_here() {
    let Some(_namespace) = Namespace::enter("userland") else { return };
    // A loop, as `protochain` has.
    let program = vec![(0x28, 0, 0, 12), (0x05, 0, 0, (-2_i32).cast_unsigned()), (0x06, 0, 0, 1)];
    let tagged_or_arp: fn(&[u8], u32, &KernelMetadata) -> bool = |packet, len, metadata| {
        assert_eq!((packet.len(), metadata.packet_type), (len as usize, 3), "whole, to another station");
        metadata.tag == Some((0x8100, 0x2005)) || packet[12..14] == [0x08, 0x06]
    };
    let mut ring = open(&filtered(RingConfig { snaplen: 40, ..small("a1") }, Fixed(program, tagged_or_arp)));
    let notices = ring.take_notices();
    assert!(matches!(&notices[..], [notice] if notice.contains("a loop")), "{notices:?}");
    let socket = sender("a0");
    for kind in [&[0x08, 0x06][..], &[0x08, 0x00], &[0x81, 0x00, 0x20, 0x05, 0x08, 0x00], &[0x08, 0x06]] {
        socket.send(&frame(kind, 64)).unwrap();
    }
    let packets = receive_all(&mut ring);
    assert_eq!(packets.len(), 3);
    assert_eq!(packets[1].1[12..16], [0x81, 0x00, 0x20, 0x05]);
    assert_eq!(ring.counters().unwrap().received, 3, "what the filter rejects was never received");
}

#[test]
fn any_is_all_interfaces_with_cooked_headers() {
    let Some(_namespace) = Namespace::enter("any") else { return };
    let mut rings = PacketRing::open(&small("any"), 2, &clock()).unwrap();
    // ldh [0]; jeq 0x0806
    let arp = vec![(0x28, 0, 0, 0), (0x15, 0, 1, 0x0806), (0x06, 0, 0, 262_144), (0x06, 0, 0, 0)];
    let mut arp = open(&filtered(RingConfig { snaplen: 30, ..small("any") }, Fixed(arp, |_, _, _| false)));
    sender("a0").send(&frame(&[0x81, 0x00, 0x20, 0x05, 0x08, 0x00, 0x45], 100)).unwrap();
    sender("a0").send(&frame(&[0x08, 0x06], 60)).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"once", socket.local_addr().unwrap()).unwrap();
    let mut packets: Vec<_> = rings.iter_mut().flat_map(receive_all).map(|(_, bytes)| bytes).collect();
    packets.sort();
    let number = |name: &str| interfaces::number_of(name).unwrap() as u8;
    let header = |protocol: u16, name: &str, kind: u8| {
        let hardware = if name == "lo" { [3, 4] } else { [0, 1] };
        [&protocol.to_be_bytes()[..], &[0, 0, 0, 0, 0, number(name)], &hardware, &[kind, 6]].concat()
    };
    let begin = |protocol, name, kind| {
        let header = header(protocol, name, kind);
        packets.iter().filter(move |packet| packet.starts_with(&header)).count()
    };
    assert_eq!(packets.len(), 5, "two of each veth pair, and one of the loopback interface");
    assert_eq!((begin(0x0800, "lo", 0), begin(0x0806, "a0", 4), begin(0x0806, "a1", 3)), (1, 1, 1));
    let tagged: Vec<_> = packets.iter().filter(|packet| packet.starts_with(&[0x81, 0x00])).collect();
    assert_eq!(tagged.len(), 2);
    assert!(tagged.iter().all(|packet| packet[20..25] == [0x20, 0x05, 0x08, 0x00, 0x45]), "{tagged:02x?}");
    let lengths: Vec<_> =
        receive_all(&mut arp).iter().map(|(header, bytes)| (bytes.len(), header.len)).collect();
    assert_eq!(lengths, [(30, 66); 2]);
}

#[test]
fn a_tunnel_interface_has_no_link_layer() {
    let Some(namespace) = Namespace::enter("tunnel") else { return };
    if ip(&format!("-n {} tuntap add t0 mode tun", namespace.0)) {
        namespace.run("link set t0 up");
        assert_eq!(open(&small("t0")).link_type(), Some(LinkType::RAW));
    }
}
