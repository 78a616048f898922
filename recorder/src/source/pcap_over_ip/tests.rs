//! Peers over the loopback interface, against what was sent.

use netrewind_store::Timestamp;
use netrewind_store::clock::{Clock, ManualClock};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::dial::PAUSE_MIN;
use super::{Endpoint, PEERS_MAX, PcapOverIp};
use crate::source::{PeerChange, Received, Source, SourceError};

const PATIENCE: Duration = Duration::from_millis(20);

/// A pcap file of Ethernet packets whose first bytes are these.
fn capture(numbers: std::ops::Range<u8>) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 2 | 4 << 16, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for number in numbers {
        for word in [u32::from(number), 0, 20, 20] {
            file.extend(word.to_le_bytes());
        }
        file.extend([number; 20]);
    }
    file
}

fn open(text: &str, clock: &Arc<ManualClock>) -> Vec<PcapOverIp> {
    let clock: Arc<dyn Clock> = clock.clone();
    PcapOverIp::open(&text.parse().unwrap(), &clock).unwrap()
}

/// Receives until there are `count` packets; the errors on the way.
fn receive(source: &mut PcapOverIp, count: usize) -> (Vec<u8>, Vec<String>) {
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        match source.receive(PATIENCE, &mut |packet| packets.push(packet.head[0])) {
            Ok(_) => {}
            Err(error) => errors.push(error.to_string()),
        }
        if packets.len() >= count && count > 0 {
            break;
        }
    }
    (packets, errors)
}

#[test]
fn endpoints_are_read_as_they_are_written() {
    for text in ["connect:10.0.0.5:57012", "listen:0.0.0.0:57012", "connect:[2001:db8::1]:1", "listen:[::]:0"]
    {
        assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
    }
    assert_eq!(
        "connect:[2001:db8::1]:80".parse(),
        Ok(Endpoint::Connect { host: "2001:db8::1".into(), port: 80 })
    );
    for text in [
        "",
        "10.0.0.5:57012",
        "connect:h",
        "connect:h:0",
        "listen::5",
        "connect:::1:5",
        "udp:h:5",
        "listen:h:65536",
    ] {
        let error = text.parse::<Endpoint>().unwrap_err();
        assert!(error.contains("connect:HOST:PORT"), "{error}");
    }
}

#[test]
fn a_peer_is_connected_to_again_after_a_pause_that_grows() {
    let clock = Arc::new(ManualClock::moved_by_waits(Timestamp::MIN));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut source = open(&format!("connect:{address}"), &clock).remove(0);
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let cut = capture(0..3);
        stream.write_all(&cut[..cut.len() - 1]).unwrap();
        drop(stream);
        drop(listener);
    });
    let (packets, _) = receive(&mut source, 2);
    assert_eq!(packets, [0, 1]);
    peer.join().unwrap();
    let Err(error) = (0..100).try_for_each(|_| source.receive(PATIENCE, &mut |_| {}).map(|_| ())) else {
        panic!()
    };
    assert!(error.to_string().contains("1 bytes early"), "{error}");
    let changes = source.take_changes();
    assert!(
        matches!(&changes[..], [PeerChange::Connected { .. }, PeerChange::Disconnected { records: 2, .. }]),
        "{changes:?}"
    );
    // Nobody listens: each try in vain doubles the pause, and no try is made before it has passed.
    let pause = |source: &mut PcapOverIp, is_over: &dyn Fn(Result<Received, SourceError>) -> bool| {
        let began = clock.now();
        while !is_over(source.receive(PATIENCE, &mut |_| {})) {}
        clock.now().since(began.monotonic_ns)
    };
    let first = pause(&mut source, &|tried| tried.is_err_and(|error| error.to_string().contains("refused")));
    assert!((PAUSE_MIN..PAUSE_MIN + PATIENCE).contains(&first), "{first:?}");
    let listener = TcpListener::bind(address).unwrap();
    let second = pause(&mut source, &|tried| tried.is_ok());
    assert!((PAUSE_MIN * 2..PAUSE_MIN * 2 + PATIENCE).contains(&second), "{second:?}");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&capture(7..9)).unwrap();
    assert_eq!(receive(&mut source, 2).0, [7, 8]);
}

#[test]
fn peers_are_taken_by_the_lowest_free_source_and_a_clean_end_is_no_error() {
    let clock = Arc::new(ManualClock::moved_by_waits(Timestamp::MIN));
    let mut sources = open("listen:127.0.0.1:0", &clock);
    assert_eq!(sources.len(), PEERS_MAX);
    let address = sources[0].name().strip_prefix("listen:").unwrap().to_owned();
    let mut first = TcpStream::connect(&address).unwrap();
    first.write_all(&capture(0..2)).unwrap();
    assert_eq!(sources[1].receive(PATIENCE, &mut |_| panic!()).unwrap(), Received::Quiet);
    assert!(sources[1].is_spare() && !sources[0].is_spare());
    assert_eq!(receive(&mut sources[0], 2).0, [0, 1]);
    let mut second = TcpStream::connect(&address).unwrap();
    second.write_all(&capture(5..8)).unwrap();
    assert_eq!(receive(&mut sources[1], 3).0, [5, 6, 7]);
    assert!(!sources[1].is_spare());
    drop(first);
    let (_, errors) = receive(&mut sources[0], 0);
    assert_eq!(errors, Vec::<String>::new());
    let mut third = TcpStream::connect(&address).unwrap();
    third.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let (_, errors) = receive(&mut sources[0], 0);
    assert!(errors.len() == 1 && errors[0].contains("not a capture file"), "{errors:?}");
    second.write_all(&capture(9..10)[24..]).unwrap();
    assert_eq!(receive(&mut sources[1], 1).0, [9], "the others go on");
    assert_eq!(sources[1].take_changes().len(), 1);
    assert_eq!(sources[0].take_changes().len(), 4);
    sources[0].stop().unwrap();
    assert_eq!(sources[0].receive(PATIENCE, &mut |_| {}).unwrap(), Received::End);
}
