//! Names that must not reach libpcap, and those that may.

use netrewind_store::LinkType;

use crate::{CompileLimits, FilterError, compile};

fn refused_name(expression: &str) -> Option<String> {
    match compile(expression, LinkType::ETHERNET, &CompileLimits::default()) {
        Err(FilterError::Name { expression, span, .. }) => Some(expression[span].to_owned()),
        _ => None,
    }
}

#[test]
fn names_that_would_be_looked_up_are_refused() {
    for (expression, name) in [
        ("host example.com", "example.com"),
        ("host localhost", "localhost"),
        ("src example", "example"),
        ("net loopback", "loopback"),
        ("gateway router", "router"),
        ("ether host printer", "printer"),
        ("ether src printer", "printer"),
        ("wlan addr1 printer", "printer"),
        ("ip host 1.2.3.4.5", "1.2.3.4.5"),
        ("host 10.0.0.1x", "10.0.0.1x"),
        ("host \\http", "\\http"),
        ("host 10.0.0.1 or http", "http"),
        ("port 80 or host http", "http"),
        ("host 10.0.0.1 and (port 80) or http", "http"),
        ("host 10.0.0.1 and (port 80 or port http) or smtp", "smtp"),
        ("not host a", "a"),
        ("host (a or b)", "a"),
        ("src or dst host x-y", "x-y"),
        ("tcp and port 80 and dst dead", "dead"),
        ("host tcp-syn-x", "tcp-syn-x"),
        ("host 0x", "0x"),
        ("dst net 10.0.0.0 or ten", "ten"),
        ("host 10.0.0.1\nor\thost beef", "beef"),
        ("host vxlan", "vxlan"),
        ("tpc port 80", "tpc"),
        ("host Example.COM.", "Example.COM."),
    ] {
        assert_eq!(refused_name(expression).as_deref(), Some(name), "`{expression}`");
    }
}

#[test]
fn words_of_the_language_and_local_tables_are_not_names() {
    for expression in [
        "port http",
        "port http or https",
        "tcp portrange ssh-smtp",
        "src or dst port domain",
        "port (http or https)",
        "ip proto \\tcp",
        "ether proto \\arp",
        "ip proto \\icmp or \\tcp",
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
        "icmp[icmptype] = icmp-echo",
        "icmp6[icmp6type] == icmp6-echo",
        "host 10.0.0.1 and (port http or port 22)",
        "host 1.2.3",
        "net 10",
        "net 10.0.0.0/8",
        "net 10.0.0.0 mask 255.0.0.0",
        "host ::1 or host 2001:db8::1:2:3 or host ::ffff:10.0.0.1",
        "ether host ab:cd:ef:0:0:1",
        "ether host abcd.ef00.0003",
        "ether host ab-cd-ef-00-00-01",
        "ether host abcdef000001",
        "!(tcp)&&udp||arp",
        "llc ui",
        "ip[2:2]>576",
        "decnet src 50.764",
        "port 80 or (host 10.0.0.1 and port 81) or http",
    ] {
        let compiled = compile(expression, LinkType::ETHERNET, &CompileLimits::default());
        assert!(compiled.is_ok(), "`{expression}`: {}", compiled.unwrap_err());
    }
}

#[test]
fn a_nul_byte_and_a_long_text_are_refused() {
    let limits = CompileLimits::default();
    let refused = compile("tcp\0", LinkType::ETHERNET, &limits);
    assert!(matches!(refused, Err(FilterError::Syntax { span, .. }) if span == (3..4)));
    let long = " ".repeat(limits.text_bytes_max + 1);
    assert!(matches!(compile(&long, LinkType::ETHERNET, &limits), Err(FilterError::TooLong { .. })));
}
