//! Large filters, compiled by a `netrewind` process of their own.

use std::time::{Duration, Instant};

use netrewind_filter::{CompileLimits, FilterError, compile};
use netrewind_store::LinkType;

fn limits() -> CompileLimits {
    CompileLimits { worker: Some(env!("CARGO_BIN_EXE_netrewind").into()), ..CompileLimits::default() }
}

fn hosts(count: u32) -> String {
    let host = |i| format!("host {}", std::net::Ipv4Addr::from(0x0a00_0000 + i));
    (0..count).map(host).collect::<Vec<_>>().join(" or ")
}

/// What no list is made of.
fn stations(count: u32) -> String {
    let station = |i: u32| format!("ether host 2:0:0:0:{:x}:{:x}", i >> 8, i & 0xff);
    (0..count).map(station).collect::<Vec<_>>().join(" or ")
}

/// An Ethernet frame with an IPv4 header to an address.
fn frame_to(address: u32) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[30..34].copy_from_slice(&address.to_be_bytes());
    frame
}

#[test]
fn hundreds_of_hosts_compile_and_are_found() {
    for count in [100, 500, 10_000] {
        let program = compile(&hosts(count), LinkType::ETHERNET, &limits()).expect("a program");
        for found in [0, count / 2, count - 1] {
            assert!(program.accepts(&frame_to(0x0a00_0000 + found), 64), "{found} of {count}");
        }
        assert!(!program.accepts(&frame_to(0x0a00_0000 + count), 64));
    }
}

#[test]
fn a_filter_beyond_the_limits_is_refused_in_time() {
    let limits = CompileLimits { cpu_seconds_max: 1, wall_time_max: Duration::from_secs(3), ..limits() };
    let started = Instant::now();
    let refused = compile(&stations(3000), LinkType::ETHERNET, &limits).expect_err("too much");
    assert!(matches!(refused, FilterError::TooExpensive { .. }), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());

    let limits = CompileLimits { memory_bytes_max: 330 << 20, ..limits };
    let refused = compile(&stations(800), LinkType::ETHERNET, &limits);
    assert!(matches!(refused, Err(FilterError::TooExpensive { .. })), "{refused:?}");
}

#[test]
fn the_process_points_at_errors_and_refuses_names() {
    let wrong = format!("{} or port 70000", hosts(50));
    match compile(&wrong, LinkType::ETHERNET, &limits()) {
        Err(FilterError::Syntax { span, .. }) => assert_eq!(&wrong[span], "70000"),
        other => panic!("{other:?}"),
    }
    let name = format!("{} or example.org", hosts(50));
    assert!(matches!(compile(&name, LinkType::ETHERNET, &limits()), Err(FilterError::Name { .. })));
    let nothing = format!("ip and arp and ({})", hosts(50));
    assert!(matches!(compile(&nothing, LinkType::ETHERNET, &limits()), Err(FilterError::RejectsAll { .. })));
}
