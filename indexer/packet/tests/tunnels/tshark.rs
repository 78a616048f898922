//! The views of public captures, as tshark sees them: where its Ethernet and IP headers stand.

use std::path::{Path, PathBuf};
use std::process::Command;

use netrewind_packet::dissect;
use netrewind_store::{LinkType, Records};

/// Captures with tunnels in them.
const CAPTURES: &[&str] = &[
    "arkime/arkime_synthetic.pcap",
    "arkime/gre-erspan-vxlan.pcap",
    "arkime/pppoe.pcap",
    "arkime/tcpdump-geneve.pcap",
    "ndpi/6in6tunnel.pcap",
    "ndpi/capwap_data.pcapng",
    "ndpi/ipv6_in_gtp.pcap",
    "tcpdump/NHRP_registration.pcap",
    "tcpdump/PIM_register_register-stop.pcap",
    "tcpdump/arista_ether.pcap",
    "tcpdump/bigtcp-ipv4-vxlan-ipv4.pcap",
    "tcpdump/erspan-type-i-1.pcap",
    "tcpdump/erspan-type-ii-1.pcap",
    "tcpdump/erspan-type-ii-3.pcap",
    "tcpdump/erspan-type-iii-ft-0.pcap",
    "tcpdump/erspan-type-iii-ft-7.pcap",
    "tcpdump/gso-ipv6-vxlan-ipv4.pcap",
    "tcpdump/lspping-fec-ldp.pcap",
    "tcpdump/lspping-fec-rsvp.pcap",
    "tcpdump/mpls-label-heapoverflow.pcap",
    "tcpdump/nsh-over-vxlan-gpe.pcap",
    "tcpdump/nsh.pcap",
    "tcpdump/ospf6_print_lshdr-oobr.pcap",
    "tcpdump/pppoes.pcap",
    "tcpdump/various_gre.pcap",
    "tcpdump/vxlan_port_8472.pcap",
];

/// Layers behind which tshark finds headers where we do not look: what is only quoted, what is no tunnel of ours, and
/// capture formats that are not taken apart.
const NOT_PEELED: &[&str] =
    &["icmp", "icmpv6", "pim", "capwap.data", "avsp", "isl", "ppi", "pktap", "fr", "wlan", "lisp"];

/// Packets whose views we see and tshark does not, or the other way round, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("tcpdump/vxlan_port_8472.pcap", "port 8472 is unknown to it"),
    ("tcpdump/bigtcp-ipv4-vxlan-ipv4.pcap", "an IPv4 total length of zero is malformed to it"),
    ("tcpdump/bigtcp-ipv6-geneve-ipv4.pcap", "an IPv6 payload length of zero is malformed to it"),
    ("tcpdump/bigtcp-ipv6-geneve-ipv6.pcap", "an IPv6 payload length of zero is malformed to it"),
    ("arkime/arkime_synthetic.pcap", "two extension headers of 2,048 bytes reach beyond the longest prefix"),
];

/// An inner header: is it Ethernet, and where does it begin?
type Header = (bool, usize);

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("NETREWIND_CORPUS").map_or(beside, PathBuf::from);
    corpus.is_dir().then_some(corpus)
}

/// The protocols of each packet and where they begin, from the outermost.
fn protocols(capture: &Path) -> Option<Vec<Vec<(String, usize)>>> {
    let settings = ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE"];
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(settings.iter().flat_map(|setting| ["-o", setting]))
        .args(["-n", "-T", "pdml", "-J", "geninfo"])
        .output()
        .ok()?;
    let attribute = |line: &str, name: &str| {
        let value = line.split(&format!(" {name}=\"")).nth(1)?;
        value.split('"').next().map(str::to_owned)
    };
    let mut packets = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("<proto name=")) {
        let name = attribute(line, "name")?;
        match name.as_str() {
            "geninfo" => packets.push(Vec::new()),
            _ => {
                let position = attribute(line, "pos").and_then(|at| at.parse().ok());
                packets.last_mut()?.push((name, position.unwrap_or(0)));
            }
        }
    }
    Some(packets)
}

/// The headers that are not the stored packet's own.
fn inner_headers(protocols: &[(String, usize)]) -> Vec<Header> {
    const TUNNELS: &[&str] =
        &["mpls", "pppoes", "nsh", "gre", "vxlan", "geneve", "gtp", "erspan", "teredo", "l2tp"];
    let (mut headers, mut has_network, mut is_tunnelled) = (Vec::new(), false, false);
    for (name, at) in protocols.iter().take_while(|(name, _)| !NOT_PEELED.contains(&name.as_str())) {
        match name.as_str() {
            "eth" => {
                if *at > 0 {
                    headers.push((true, *at));
                }
                (has_network, is_tunnelled) = (false, false);
            }
            "ip" | "ipv6" => {
                if has_network || is_tunnelled {
                    headers.push((false, *at));
                }
                (has_network, is_tunnelled) = (true, false);
            }
            other => is_tunnelled |= TUNNELS.contains(&other),
        }
    }
    headers
}

/// Our inner views: those of an Ethernet frame, or of an IP packet.
fn inner_views(link_type: LinkType, packet: &[u8], len: u32) -> Vec<Header> {
    let dissection = dissect(link_type, packet, len);
    let inner = dissection.views().iter().skip(1);
    inner.map(|view| (view.view.link_type == LinkType::ETHERNET, usize::from(view.view.offset))).collect()
}

#[derive(Default)]
struct Agreement {
    captures: usize,
    packets: usize,
    with_tunnel: usize,
    headers: usize,
    differences: Vec<String>,
}

/// Compares one capture; those that do not become a pcap file, as they have several link types, are left out.
fn compare(agreement: &mut Agreement, corpus: &Path, name: &str, scratch: &Path) {
    let converted = scratch.join("capture.pcap");
    let conversion =
        Command::new("editcap").args(["-F", "nsecpcap"]).arg(corpus.join(name)).arg(&converted).output();
    let is_converted = conversion.is_ok_and(|output| output.status.success());
    let (Some(theirs), Ok(segment), true) =
        (protocols(&corpus.join(name)), std::fs::read(&converted), is_converted)
    else {
        return;
    };
    let link_type = LinkType(u16::from_le_bytes([segment[20], segment[21]]));
    agreement.captures += 1;
    for (number, (record, protocols)) in Records::of_segment(&segment).zip(&theirs).enumerate() {
        let (theirs, ours) =
            (inner_headers(protocols), inner_views(link_type, record.packet, record.header.len));
        agreement.packets += 1;
        agreement.with_tunnel += usize::from(!theirs.is_empty());
        agreement.headers += theirs.len();
        if theirs != ours && !DIFFERENCES.iter().any(|(known, _)| *known == name) {
            agreement
                .differences
                .push(format!("{name} packet {}: tshark {theirs:?}, we {ours:?}", number + 1));
        }
    }
}

/// Compares all of them; how many packets had tunnels, or nothing where there is nothing to compare with.
fn compare_all<'a>(names: impl Iterator<Item = &'a str>) -> Option<usize> {
    let Some(corpus) = corpus() else {
        println!("skipped: no captures in $NETREWIND_CORPUS");
        return None;
    };
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("skipped: no tshark");
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut agreement = Agreement::default();
    names.for_each(|name| compare(&mut agreement, &corpus, name, scratch.path()));
    let Agreement { captures, packets, with_tunnel, headers, differences } = agreement;
    println!("{captures} captures, {packets} packets, {with_tunnel} with {headers} inner headers");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    Some(with_tunnel)
}

#[test]
fn inner_headers_stand_where_tshark_sees_them() {
    let with_tunnel = compare_all(CAPTURES.iter().copied());
    assert!(with_tunnel.is_none_or(|packets| packets > 0));
}

/// tshark takes minutes over every capture, so each run takes some others.
const CAPTURES_A_RUN: usize = 12;

#[test]
fn inner_headers_of_any_capture_stand_where_tshark_sees_them() {
    let Some(corpus) = corpus() else { return };
    let mut names = Vec::new();
    for folder in ["arkime", "ndpi", "tcpdump"] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            names.push(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    names.sort();
    let seed = std::env::var("NETREWIND_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("NETREWIND_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed).shuffle(&mut names);
    names.truncate(CAPTURES_A_RUN);
    compare_all(names.iter().map(String::as_str));
}
