//! Remedies for expressions of people who come from elsewhere: they have to be right.

use netrewind_store::LinkType;

use crate::{CompileLimits, FilterError, compile};

fn refused(expression: &str) -> FilterError {
    match compile(expression, LinkType::ETHERNET, &CompileLimits::default()) {
        Err(error) => error,
        Ok(_) => panic!("`{expression}` has a meaning"),
    }
}

/// The expressions that a message names after the place of the error.
fn remedies(expression: &str) -> (String, Vec<String>) {
    let message = refused(expression).message().unwrap_or_else(|| panic!("{expression}: no place"));
    let (_, remedy) = message.split_once(": ").unwrap_or_default();
    let quoted = remedy.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    (message, quoted)
}

/// Expression as written, its replacement, and a word of the explanation.
const TABLE: &[(&str, &str, &str)] = &[
    // Display filters.
    ("ip.addr == 10.0.0.1", "ip host 10.0.0.1", "Wireshark"),
    ("ip.src==10.0.0.1", "ip src host 10.0.0.1", "Wireshark"),
    ("ip.dst eq 10.0.0.0/8", "ip dst net 10.0.0.0/8", "Wireshark"),
    ("ip.addr == 10.1.2.3/8", "ip net 10.0.0.0/8", "Wireshark"),
    ("ip.addr != 10.0.0.1", "(ip and not ip host 10.0.0.1)", "Wireshark"),
    ("ipv6.addr == 2001:db8::1", "ip6 host 2001:db8::1", "Wireshark"),
    ("tcp.port == 80", "tcp port 80", "Wireshark"),
    ("tcp.port==443", "tcp port 443", "Wireshark"),
    ("udp.dstport == 53", "udp dst port 53", "Wireshark"),
    ("tcp.port != 22", "(tcp and not tcp port 22)", "Wireshark"),
    ("tcp.port in {80, 443}", "(tcp port 80 or tcp port 443)", "Wireshark"),
    ("tcp.port in {80..90}", "tcp portrange 80-90", "Wireshark"),
    ("tcp.srcport >= 1024", "tcp src portrange 1024-65535", "Wireshark"),
    ("frame.len > 100", "len > 100", "Wireshark"),
    ("frame.len le 64", "len <= 64", "Wireshark"),
    ("eth.addr == AA-BB-CC-00-11-22", "ether host aa:bb:cc:00:11:22", "Wireshark"),
    ("eth.src == aa:bb:cc:00:11:22", "ether src aa:bb:cc:00:11:22", "Wireshark"),
    ("eth.type == 0x88cc", "ether proto 0x88cc", "Wireshark"),
    ("vlan.id == 5", "vlan 5", "Wireshark"),
    ("ip.ttl < 5", "ip[8] < 5", "Wireshark"),
    ("ip.dsfield.dscp == 46", "ip[1] >> 2 = 46", "Wireshark"),
    ("ip.proto == 47", "ip proto 47", "Wireshark"),
    ("icmp.type == 8", "icmp[icmptype] = 8", "Wireshark"),
    ("tcp.flags.syn == 1", "tcp[tcpflags] & tcp-syn != 0", "Wireshark"),
    (
        "tcp.flags.syn==1 && tcp.flags.ack==0",
        "tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack = 0",
        "Wireshark",
    ),
    ("tls.handshake", "tcp[((tcp[12] & 0xf0) >> 2)] = 22", "Wireshark"),
    (
        "tls.handshake.type == 1",
        "(tcp[((tcp[12] & 0xf0) >> 2)] = 22 and tcp[((tcp[12] & 0xf0) >> 2) + 5] = 1)",
        "Wireshark",
    ),
    // `and` binds closer there.
    (
        "tcp.port == 80 || ip.addr == 10.0.0.1 && udp.port == 53",
        "tcp port 80 or (ip host 10.0.0.1 and udp port 53)",
        "Wireshark",
    ),
    ("!(tcp.port == 80) and ip.addr == 10.0.0.1", "not (tcp port 80) and ip host 10.0.0.1", "Wireshark"),
    ("host 10.0.0.1 and tcp.port == 80", "host 10.0.0.1 and tcp port 80", "Wireshark"),
    ("dns && ip.addr == 10.0.0.1", "port 53 and ip host 10.0.0.1", "Wireshark"),
    ("ipv6 && tcp.port == 80", "ip6 and tcp port 80", "Wireshark"),
    // Fields that have no counterpart: the packets that can have them.
    ("tcp.analysis.retransmission", "tcp", "retransmissions:>0"),
    ("dns.qry.name == \"example.org\"", "port 53", "dns:NAME"),
    ("http.host contains \"example\"", "tcp port 80", "http_host:NAME"),
    ("ip.addr contains 10", "ip", "display filter"),
    // Applications.
    ("http", "tcp port 80", "flows --query app:http"),
    ("dns", "port 53", "flows --query app:dns"),
    ("HTTP", "tcp port 80", "app:http"),
    ("host 10.0.0.1 and http", "host 10.0.0.1 and tcp port 80", "ports"),
    ("http or dhcp", "tcp port 80 or (udp port 67 or udp port 68)", "ports"),
    ("not ssh", "not tcp port 22", "app:ssh"),
    ("ospf", "ip proto 89", "ports"),
    // Capitals.
    ("TCP", "tcp", "small letters"),
    ("Host 10.0.0.1", "host 10.0.0.1", "small letters"),
    ("host 10.0.0.1 AND port 80", "host 10.0.0.1 and port 80", "lower case"),
    ("TCP PORT 80 OR (UDP AND NOT PORT 53)", "tcp port 80 or (udp and not port 53)", "small letters"),
    // Typing errors.
    ("host 10.0.0.1 adn port 80", "host 10.0.0.1 and port 80", "did you mean"),
    ("port 80 adn host 10.0.0.1", "port 80 and host 10.0.0.1", "did you mean"),
    ("host 10.0.0.1 ro port 80", "host 10.0.0.1 or port 80", "did you mean"),
    ("hots 10.0.0.1", "host 10.0.0.1", "did you mean"),
    ("host 10.0.0.1 and prot 80", "host 10.0.0.1 and port 80", "did you mean"),
    ("tpc port 80", "tcp port 80", "did you mean"),
    ("src hst 10.0.0.1", "src host 10.0.0.1", "did you mean"),
    ("nto port 22", "not port 22", "did you mean"),
    ("destination 10.0.0.1", "dst 10.0.0.1", "did you mean"),
    ("subnet 10.0.0.0/8", "net 10.0.0.0/8", "did you mean"),
    ("ipv6", "ip6", "did you mean"),
    ("mac 00:11:22:33:44:55", "ether host 00:11:22:33:44:55", "did you mean"),
    // Words that are missing or too many.
    ("host 10.0.0.1 port 80", "host 10.0.0.1 and port 80", "did you mean"),
    ("tcp 80", "tcp port 80", "did you mean"),
    ("ip 10.0.0.1", "ip host 10.0.0.1", "did you mean"),
    ("10.0.0.1", "host 10.0.0.1", "did you mean"),
    ("port = 80", "port 80", "did you mean"),
    ("port 80,443", "port 80 or 443", "did you mean"),
    ("port 80 443", "port 80 or 443", "did you mean"),
    ("host 10.0.0.1:80", "host 10.0.0.1 and port 80", "did you mean"),
    ("10.0.0.1:80", "host 10.0.0.1 and port 80", "did you mean"),
    ("net 10.0.0.1/24", "net 10.0.0.0/24", "did you mean"),
    ("host 10.0.0.7/24", "net 10.0.0.0/24", "did you mean"),
    ("'host 10.0.0.1'", "host 10.0.0.1", "did you mean"),
    ("host 10.0.0.1 & port 80", "host 10.0.0.1 and port 80", "did you mean"),
];

#[test]
fn every_remedy_compiles_and_says_what_was_meant() {
    let mut wrong = Vec::new();
    for (expression, wanted, word) in TABLE {
        let (message, quoted) = remedies(expression);
        if !message.contains(word) || quoted.first().map(String::as_str) != Some(*wanted) {
            wrong.push(format!("{expression}: {message}"));
        }
        for remedy in &quoted {
            let compiled = compile(remedy, LinkType::ETHERNET, &CompileLimits::default());
            compiled.unwrap_or_else(|error| panic!("{expression}: `{remedy}` is no remedy: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tunnels_are_chosen_beside_the_filter() {
    for (expression, words) in [
        ("vxlan 5", "leave this out and use --vni 5 (vni=5 over HTTP)"),
        ("VXLAN 5", "--vni 5"),
        ("gre 7", "--gre-key 7 (gre_key=7 over HTTP)"),
        ("vxlan 5 and host 10.0.0.5", "--vni 5 (vni=5 over HTTP) and the filter `host 10.0.0.5`"),
        ("host 10.0.0.5 and vxlan 0x10", "--vni 0x10 (vni=0x10 over HTTP) and the filter `host 10.0.0.5`"),
        ("vxlan", "`udp port 4789` with --view outer"),
        ("gtp", "`udp port 2152` with --view outer"),
    ] {
        let message = refused(expression).message().expect("a place");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn without_a_remedy_none_is_made_up() {
    for expression in
        ["host example.org", "host www", "net1", "ether host printer", "host AND", "q", "tcp.port == http"]
    {
        let message = refused(expression).message().expect("a place");
        assert!(
            !message.contains("did you mean") && !message.contains("small letters"),
            "{expression}: {message}"
        );
    }
    // As large an expression as is looked at, and larger ones: neither takes long.
    for hosts in [15, 40, 2000] {
        let list =
            (0..hosts).map(|i| format!("host 10.0.{}.{}", i / 250, i % 250)).collect::<Vec<_>>().join(" or ");
        let begun = std::time::Instant::now();
        refused(&format!("{list} adn port 80"));
        assert!(begun.elapsed().as_secs() < 5, "{hosts}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_place_is_that_of_the_mistake() {
    for (expression, place) in [
        ("host 10.0.0.1 adn port 80", "adn"),
        ("host 10.0.0.1 AND port 80", "AND"),
        ("host 10.0.0.1 and tcp.port == 80", "tcp.port"),
        ("port 80 adn host 10.0.0.1", "adn"),
        ("host 10.0.0.5 and vxlan 5", "vxlan"),
    ] {
        let (FilterError::Name { span, .. } | FilterError::Syntax { span, .. }) = refused(expression) else {
            panic!("{expression} has a place");
        };
        assert_eq!(&expression[span], place);
    }
}
