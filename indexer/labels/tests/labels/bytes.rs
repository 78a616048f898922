//! Any bytes, in any pieces and any order: never a panic, bounded memory, and the labels of the bytes in one piece.

use netrewind_labels::{ConversationPorts, Direction, Labels, Transport};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

use crate::support::{client_hello, label, records};

/// Fronts of streams: protocols, whole and damaged, and noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = "[ -~]{0,40}";
    let request = ("(GET|POST|OPTIONS|SUBSCRIBE|PRI|SSH-2.0|HTTP/1.1)", line, line, vec((line, line), 0..8))
        .prop_map(|(method, target, host, fields)| {
            let fields: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            format!("{method} {target} HTTP/1.1\r\n{fields}Host: {host}\r\nUser-Agent: x\r\n\r\n")
                .into_bytes()
        });
    let hello = (".{0,60}", 0..5000_usize, 1..900_usize)
        .prop_map(|(name, padding, record)| records(&client_hello(&name, padding), record));
    let banner = "SSH-[ -~]{0,300}[\r\n]".prop_map(String::into_bytes);
    let dns = (any::<[u8; 4]>(), vec(any::<u8>(), 0..80)).prop_map(|(flags, rest)| {
        [&[0, (12 + rest.len()) as u8][..], &flags, b"\0\x01\0\x01\0\0\0\0", &rest].concat()
    });
    let noise = vec(any::<u8>(), 0..6000);
    let valid = prop_oneof![request, hello, banner, dns];
    let damaged = (
        valid,
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, damage, end, is_cut)| {
            for (at, byte) in damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            if is_cut {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        });
    prop_oneof![4 => damaged, 1 => noise]
}

fn conversation() -> impl Strategy<Value = ConversationPorts> {
    let ports = prop_oneof![
        Just([50_000, 443]),
        Just([53, 53]),
        Just([50_000, 50_001]),
        Just([5353, 5353]),
        any::<[u16; 2]>()
    ];
    (ports, any::<bool>()).prop_map(|(ports, is_tcp)| {
        let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
        ConversationPorts { transport, ports }
    })
}

/// The stream in pieces that overlap a little, in some order, with the offset of each.
fn pieces(stream: &[u8], seed: u64) -> Vec<(usize, &[u8])> {
    let mut random = fastrand::Rng::with_seed(seed);
    let longest = [1, 3, 40, 700, 2000][random.usize(..5)];
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < stream.len() {
        let end = (at + random.usize(1..=longest)).min(stream.len());
        let from = at.saturating_sub(random.usize(..3));
        pieces.push((from, &stream[from..end]));
        at = end;
    }
    if random.bool() {
        random.shuffle(&mut pieces);
    }
    pieces
}

/// Holds of all labels: text is printable and within its limit.
fn is_clean(labels: &Labels) -> bool {
    let mut is_clean = true;
    labels.visit(|_, value| is_clean &= value.len() <= 512 && !value.chars().any(char::is_control));
    is_clean
}

proptest! {
    #![proptest_config(Config {
        cases: 1500,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn however_streams_are_split_their_labels_are_the_same(
        ports in conversation(), forward in stream(), backward in stream(), seed in any::<u64>(),
    ) {
        use Direction::{Backward, Forward};
        let conversation = ConversationPorts { transport: Transport::Tcp, ..ports };
        let whole = label(&conversation, &[(Forward, 0, &forward), (Backward, 0, &backward)]);
        let there = pieces(&forward, seed).into_iter().map(|(offset, piece)| (Forward, offset, piece));
        let back = pieces(&backward, !seed).into_iter().map(|(offset, piece)| (Backward, offset, piece));
        let packets: Vec<_> = there.chain(back).collect();
        prop_assert_eq!(&label(&conversation, &packets), &whole);
        prop_assert!(whole.is_none_or(|labels| is_clean(&labels)));
    }

    #[test]
    fn any_packets_of_any_conversation_are_survived(
        conversation in conversation(), streams in vec((stream(), any::<bool>(), any::<u32>()), 0..8),
    ) {
        let directions = [Direction::Forward, Direction::Backward];
        let packets: Vec<_> = streams
            .iter()
            .map(|(bytes, way, offset)| (directions[usize::from(*way)], (offset % 5000) as usize, &bytes[..]))
            .collect();
        let labels = label(&conversation, &packets);
        prop_assert!(labels.is_none_or(|labels| is_clean(&labels)));
    }
}
