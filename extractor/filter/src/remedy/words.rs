//! Words that people write in filters, and what stands for them.

/// Tunnels: their name, the parameter that chooses one by its number, and what the tunnel itself looks like.
pub(super) const TUNNELS: [(&str, Option<&str>, &str); 7] = [
    ("vxlan", Some("vni"), "udp port 4789"),
    ("geneve", Some("vni"), "udp port 6081"),
    ("nvgre", Some("vni"), "ip proto 47"),
    ("gre", Some("gre-key"), "ip proto 47"),
    ("erspan", Some("erspan-session"), "ip proto 47"),
    ("gtp", None, "udp port 2152"),
    ("ipip", None, "ip proto 4"),
];

/// Applications and protocols that are no words of the language, and the ports or numbers that they usually have.
pub(super) const APPLICATIONS: [(&str, &str); 61] = [
    ("http", "tcp port 80"),
    ("https", "tcp port 443"),
    ("http2", "tcp port 443"),
    ("http3", "udp port 443"),
    ("quic", "udp port 443"),
    ("tls", "tcp port 443"),
    ("ssl", "tcp port 443"),
    ("dns", "port 53"),
    ("domain", "port 53"),
    ("mdns", "udp port 5353"),
    ("llmnr", "udp port 5355"),
    ("dhcp", "udp port 67 or udp port 68"),
    ("bootp", "udp port 67 or udp port 68"),
    ("dhcpv6", "udp port 546 or udp port 547"),
    ("ntp", "udp port 123"),
    ("ptp", "udp port 319 or udp port 320"),
    ("ssh", "tcp port 22"),
    ("telnet", "tcp port 23"),
    ("ftp", "tcp port 21"),
    ("tftp", "udp port 69"),
    ("smtp", "tcp port 25"),
    ("imap", "tcp port 143"),
    ("pop", "tcp port 110"),
    ("pop3", "tcp port 110"),
    ("sip", "port 5060"),
    ("rtsp", "tcp port 554"),
    ("snmp", "udp port 161 or udp port 162"),
    ("syslog", "udp port 514"),
    ("radius", "udp port 1812 or udp port 1813"),
    ("tacacs", "tcp port 49"),
    ("kerberos", "port 88"),
    ("ldap", "port 389"),
    ("smb", "tcp port 445"),
    ("smb2", "tcp port 445"),
    ("cifs", "tcp port 445"),
    ("nfs", "port 2049"),
    ("nbns", "udp port 137"),
    ("rdp", "tcp port 3389"),
    ("vnc", "tcp port 5900"),
    ("bgp", "tcp port 179"),
    ("ospf", "ip proto 89"),
    ("eigrp", "ip proto 88"),
    ("hsrp", "udp port 1985"),
    ("bfd", "udp port 3784"),
    ("ssdp", "udp port 1900"),
    ("mqtt", "tcp port 1883"),
    ("amqp", "tcp port 5672"),
    ("mysql", "tcp port 3306"),
    ("pgsql", "tcp port 5432"),
    ("postgres", "tcp port 5432"),
    ("mongo", "tcp port 27017"),
    ("redis", "tcp port 6379"),
    ("memcache", "port 11211"),
    ("modbus", "tcp port 502"),
    ("isakmp", "udp port 500 or udp port 4500"),
    ("ipsec", "esp or udp port 500 or udp port 4500"),
    ("wireguard", "udp port 51820"),
    ("openvpn", "port 1194"),
    ("netflow", "udp port 2055"),
    ("lldp", "ether proto 0x88cc"),
    ("ping", "icmp[icmptype] = icmp-echo or icmp[icmptype] = icmp-echoreply"),
];

/// Application names by which conversations are labelled, whatever their port.
pub(super) const LABELLED: [&str; 6] = ["http", "tls", "dns", "ssh", "quic", "mdns"];

/// Words of other languages for those of this one.
const SYNONYMS: [(&str, &str); 21] = [
    ("source", "src"),
    ("destination", "dst"),
    ("dest", "dst"),
    ("from", "src"),
    ("to", "dst"),
    ("ipv4", "ip"),
    ("ipv6", "ip6"),
    ("icmpv6", "icmp6"),
    ("hosts", "host"),
    ("address", "host"),
    ("addr", "host"),
    ("ports", "port"),
    ("range", "portrange"),
    ("network", "net"),
    ("subnet", "net"),
    ("protocol", "proto"),
    ("eth", "ether"),
    ("mac", "ether host"),
    ("length", "len"),
    ("size", "len"),
    ("except", "not"),
];

/// The words that are mistyped most, the most usual first.
const USUAL: [&str; 28] = [
    "and",
    "or",
    "not",
    "host",
    "port",
    "net",
    "src",
    "dst",
    "tcp",
    "udp",
    "icmp",
    "arp",
    "ip",
    "ip6",
    "ether",
    "vlan",
    "proto",
    "portrange",
    "icmp6",
    "mpls",
    "sctp",
    "len",
    "less",
    "greater",
    "broadcast",
    "multicast",
    "protochain",
    "pppoes",
];

/// Longer words may have two letters wrong.
const LONG_WORD: usize = 5;

/// Words that may be meant by this one, the likeliest first.
pub(super) fn alike(word: &str) -> Vec<&'static str> {
    let word = word.to_ascii_lowercase();
    if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Vec::new();
    }
    let synonym = SYNONYMS.iter().find(|(written, _)| *written == word).map(|(_, meant)| *meant);
    let allowed = if word.len() < LONG_WORD { 1 } else { 2 };
    let mut near: Vec<(usize, &str)> = USUAL
        .iter()
        .map(|usual| (distance(&word, usual), *usual))
        .filter(|(distance, _)| (1..=allowed).contains(distance))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    synonym.into_iter().chain(near.into_iter().map(|(_, usual)| usual)).collect()
}

/// Number of letters missing, too many, wrong, or swapped with their neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let wrong = usize::from(a[i - 1] != b[j - 1]);
                    let near = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + wrong);
                    let are_swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if are_swapped { near.min(rows[i - 2][j - 2] + 1) } else { near }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
