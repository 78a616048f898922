//! Well-known ports: a guess at a conversation's application if its bytes do not identify it.

use crate::Transport;

const TCP: u8 = 1;
const UDP: u8 = 2;
const BOTH: u8 = TCP | UDP;

/// Ports, where they are used, and the names that IANA registered for them (Service Name and Transport Protocol Port Number
/// Registry), in ascending order.
const SERVICES: &[(u16, u8, &str)] = &[
    (7, BOTH, "echo"),
    (9, BOTH, "discard"),
    (13, BOTH, "daytime"),
    (19, BOTH, "chargen"),
    (20, TCP, "ftp-data"),
    (21, TCP, "ftp"),
    (22, TCP, "ssh"),
    (23, TCP, "telnet"),
    (25, TCP, "smtp"),
    (37, BOTH, "time"),
    (43, TCP, "nicname"),
    (49, TCP, "tacacs"),
    (53, BOTH, "domain"),
    (67, UDP, "bootps"),
    (68, UDP, "bootpc"),
    (69, UDP, "tftp"),
    (70, TCP, "gopher"),
    (79, TCP, "finger"),
    (80, TCP, "http"),
    (88, BOTH, "kerberos"),
    (102, TCP, "iso-tsap"),
    (104, TCP, "acr-nema"),
    (110, TCP, "pop3"),
    (111, BOTH, "sunrpc"),
    (113, TCP, "auth"),
    (119, TCP, "nntp"),
    (123, UDP, "ntp"),
    (135, BOTH, "epmap"),
    (137, UDP, "netbios-ns"),
    (138, UDP, "netbios-dgm"),
    (139, TCP, "netbios-ssn"),
    (143, TCP, "imap"),
    (161, UDP, "snmp"),
    (162, UDP, "snmptrap"),
    (177, UDP, "xdmcp"),
    (179, TCP, "bgp"),
    (194, TCP, "irc"),
    (319, UDP, "ptp-event"),
    (320, UDP, "ptp-general"),
    (389, BOTH, "ldap"),
    (427, BOTH, "svrloc"),
    (443, BOTH, "https"),
    (445, TCP, "microsoft-ds"),
    (464, BOTH, "kpasswd"),
    (465, TCP, "submissions"),
    (500, UDP, "isakmp"),
    (502, TCP, "mbap"),
    (512, TCP, "exec"),
    (513, TCP, "login"),
    (514, UDP, "syslog"),
    (515, TCP, "printer"),
    (520, UDP, "router"),
    (521, UDP, "ripng"),
    (546, UDP, "dhcpv6-client"),
    (547, UDP, "dhcpv6-server"),
    (548, TCP, "afpovertcp"),
    (554, TCP, "rtsp"),
    (563, TCP, "nntps"),
    (587, TCP, "submission"),
    (623, UDP, "asf-rmcp"),
    (631, BOTH, "ipp"),
    (636, TCP, "ldaps"),
    (646, BOTH, "ldp"),
    (853, BOTH, "domain-s"),
    (873, TCP, "rsync"),
    (989, TCP, "ftps-data"),
    (990, TCP, "ftps"),
    (992, TCP, "telnets"),
    (993, TCP, "imaps"),
    (995, TCP, "pop3s"),
    (1080, TCP, "socks"),
    (1194, BOTH, "openvpn"),
    (1433, TCP, "ms-sql-s"),
    (1434, UDP, "ms-sql-m"),
    (1701, UDP, "l2tp"),
    (1723, TCP, "pptp"),
    (1812, UDP, "radius"),
    (1813, UDP, "radius-acct"),
    (1883, TCP, "mqtt"),
    (1900, UDP, "ssdp"),
    (2049, BOTH, "nfs"),
    (2123, UDP, "gtp-control"),
    (2152, UDP, "gtp-user"),
    (2404, TCP, "iec-104"),
    (2427, UDP, "mgcp-gateway"),
    (2628, TCP, "dict"),
    (3260, TCP, "iscsi-target"),
    (3268, TCP, "msft-gc"),
    (3269, TCP, "msft-gc-ssl"),
    (3306, TCP, "mysql"),
    (3389, BOTH, "ms-wbt-server"),
    (3478, BOTH, "stun"),
    (3544, UDP, "teredo"),
    (3690, TCP, "svn"),
    (3702, UDP, "ws-discovery"),
    (3784, UDP, "bfd-control"),
    (3868, TCP, "diameter"),
    (4500, UDP, "ipsec-nat-t"),
    (4739, BOTH, "ipfix"),
    (4789, UDP, "vxlan"),
    (4840, TCP, "opcua-tcp"),
    (5004, UDP, "avt-profile-1"),
    (5060, BOTH, "sip"),
    (5061, TCP, "sips"),
    (5222, TCP, "xmpp-client"),
    (5269, TCP, "xmpp-server"),
    (5349, BOTH, "stuns"),
    (5353, UDP, "mdns"),
    (5355, BOTH, "llmnr"),
    (5432, TCP, "postgresql"),
    (5671, TCP, "amqps"),
    (5672, TCP, "amqp"),
    (5683, UDP, "coap"),
    (5900, TCP, "rfb"),
    (5985, TCP, "wsman"),
    (5986, TCP, "wsmans"),
    (6000, TCP, "x11"),
    (6081, UDP, "geneve"),
    (6343, UDP, "sflow"),
    (6379, TCP, "redis"),
    (6514, TCP, "syslog-tls"),
    (6653, TCP, "openflow"),
    (6697, TCP, "ircs-u"),
    (7400, UDP, "rtps-discovery"),
    (8080, TCP, "http-alt"),
    (8883, TCP, "secure-mqtt"),
    (9100, TCP, "hp-pdl-datastr"),
    (9418, TCP, "git"),
    (10050, TCP, "zabbix-agent"),
    (10051, TCP, "zabbix-trapper"),
    (11211, TCP, "memcache"),
    (20000, TCP, "dnp"),
    (27017, TCP, "mongodb"),
    (44818, BOTH, "EtherNet-IP-2"),
    (47808, UDP, "bacnet"),
];

/// The service at one of the ports: at the lower one where both are well known, because clients choose high ones.
pub(crate) fn guess(transport: Transport, ports: [u16; 2]) -> Option<&'static str> {
    let [low, high] = if ports[0] <= ports[1] { ports } else { [ports[1], ports[0]] };
    service(transport, low).or_else(|| service(transport, high))
}

fn service(transport: Transport, port: u16) -> Option<&'static str> {
    let used = match transport {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
    };
    let place = SERVICES.binary_search_by_key(&port, |(of, ..)| *of).ok()?;
    SERVICES.get(place).filter(|(_, by, _)| by & used != 0).map(|(.., name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_in_order_and_names_as_iana_writes_them() {
        assert!(SERVICES.is_sorted_by(|a, b| a.0 < b.0));
        for (port, _, name) in SERVICES {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            assert!(is_name && (1..=15).contains(&name.len()), "{port} {name}");
        }
    }

    #[test]
    fn the_lower_well_known_port_is_the_service() {
        assert_eq!(guess(Transport::Tcp, [50_000, 25]), Some("smtp"));
        assert_eq!(guess(Transport::Udp, [8080, 123]), Some("ntp"));
        assert_eq!(guess(Transport::Tcp, [27_017, 389]), Some("ldap"));
        assert_eq!(guess(Transport::Udp, [25, 50_000]), None);
    }
}
