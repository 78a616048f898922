//! Initial packets, protected here as a client would, and taken apart by the labeller.

use netrewind_labels::{ConversationPorts, Direction, Labels, Transport};
use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};

use crate::support::{client_hello, label};
use Direction::{Backward, Forward};

const QUIC: ConversationPorts = ConversationPorts { transport: Transport::Udp, ports: [50_000, 443] };
const CHOSEN: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

fn varint(number: usize) -> [u8; 4] {
    (number as u32 | 0x8000_0000).to_be_bytes()
}

fn crypto(offset: usize, content: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset), &varint(content.len()), content].concat()
}

/// An Initial packet of the client, to the connection ID `to`, protected with the keys of `CHOSEN`.
fn initial(version: u32, to: &[u8], number: u8, frames: &[u8]) -> Vec<u8> {
    let keys_version = if version == 1 { Version::V1 } else { Version::V2 };
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("TLS 1.3");
    let keys = Keys::initial(keys_version, suite, suite.quic.expect("QUIC"), CHOSEN, Side::Client).local;
    let first = if version == 1 { 0xc1 } else { 0xd1 };
    let mut payload = frames.to_vec();
    payload.resize(frames.len().max(1100), 0);
    let mut header = [&[first][..], &version.to_be_bytes(), &[to.len() as u8], to, &[0, 0]].concat();
    header.extend(varint(2 + payload.len() + 16));
    header.extend([0, number]);
    let tag = keys.packet.encrypt_in_place(u64::from(number), &header, &mut payload).expect("encrypted");
    payload.extend(tag.as_ref());
    let sample = payload[2..18].to_vec();
    let at = header.len() - 2;
    let (front, packet_number) = header.split_at_mut(at);
    keys.header.encrypt_in_place(&sample, &mut front[0], packet_number).expect("protected");
    [header, payload].concat()
}

fn server_name(labels: Option<Box<Labels>>) -> Option<Box<str>> {
    labels.filter(|labels| labels.application == "quic")?.tls?.server_name
}

#[test]
fn frames_in_any_order_make_the_hello() {
    let hello = client_hello("quic.example", 0);
    for version in [1, 0x6b33_43cf] {
        let frames = [
            &[1, 0, 0][..],
            &crypto(100, &hello[100..]),
            &[1],
            &crypto(0, &hello[..60]),
            &crypto(50, &hello[50..100]),
        ];
        let datagram = initial(version, CHOSEN, 1, &frames.concat());
        let labels = label(&QUIC, &[(Forward, 0, &datagram)]).expect("labels");
        assert_eq!(labels.quic_version, Some(version));
        let tls = labels.tls.as_ref().expect("TLS");
        assert!(tls.ja4.expect("a fingerprint").as_str().starts_with("q13d0305h2_"));
        assert_eq!(server_name(Some(labels)).as_deref(), Some("quic.example"));
    }
}

#[test]
fn a_hello_in_two_datagrams_is_put_together_even_if_the_second_goes_elsewhere() {
    let hello = client_hello("two.example", 1500);
    let (first, second) = hello.split_at(1000);
    let datagrams =
        [initial(1, CHOSEN, 0, &crypto(0, first)), initial(1, b"server's", 1, &crypto(1000, second))];
    // The server's packets cannot be read, and do no harm.
    let answer = initial(1, b"client's", 0, &crypto(0, first));
    let packets =
        [(Forward, 0, &datagrams[0][..]), (Backward, 0, &answer[..]), (Forward, 0, &datagrams[1][..])];
    assert_eq!(server_name(label(&QUIC, &packets)).as_deref(), Some("two.example"));
    let late = [(Forward, 0, &datagrams[1][..]), (Forward, 0, &datagrams[0][..])];
    assert_eq!(server_name(label(&QUIC, &late)), None, "keys of an ID that the client did not choose");
    assert_eq!(label(&QUIC, &late).expect("labels").quic_version, Some(1));
}

#[test]
fn packets_in_one_datagram_are_read_one_after_the_other() {
    let hello = client_hello("coalesced.example", 0);
    let datagram =
        [initial(1, CHOSEN, 0, &crypto(90, &hello[90..])), initial(1, CHOSEN, 1, &crypto(0, &hello[..90]))];
    assert_eq!(
        server_name(label(&QUIC, &[(Forward, 0, &datagram.concat())])).as_deref(),
        Some("coalesced.example")
    );
}

#[test]
fn a_changed_byte_is_found_and_leaves_the_version() {
    let mut datagram = initial(1, CHOSEN, 0, &crypto(0, &client_hello("x.example", 0)));
    datagram[500] ^= 1;
    let labels = label(&QUIC, &[(Forward, 0, &datagram)]).expect("labels");
    assert_eq!((labels.application, labels.quic_version, &labels.tls), ("quic", Some(1), &None));
}

/// The first packet of RFC 9001, appendix A.2, begins so; its keys are those of appendix A.1.
#[test]
fn the_header_protection_is_that_of_the_rfc() {
    let hello = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010\
        000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500050100000000003300260024001d\
        00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806\
        002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";
    let frames: Vec<u8> = (0..hello.len() / 2)
        .map(|at| u8::from_str_radix(&hello[2 * at..2 * at + 2], 16).expect("a digit pair"))
        .collect();
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("TLS 1.3");
    let keys = Keys::initial(Version::V1, suite, suite.quic.expect("QUIC"), CHOSEN, Side::Client).local;
    let mut header =
        vec![0xc3, 0, 0, 0, 1, 8, 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 8, 0, 0, 0x44, 0x9e, 0, 0, 0, 2];
    let mut payload = frames;
    payload.resize(1162, 0);
    let tag = keys.packet.encrypt_in_place(2, &header, &mut payload).expect("encrypted");
    payload.extend(tag.as_ref());
    let sample = payload[..16].to_vec();
    let (front, number) = header.split_at_mut(18);
    keys.header.encrypt_in_place(&sample, &mut front[0], number).expect("protected");
    let datagram = [header, payload].concat();
    assert_eq!(&datagram[..1], [0xc0], "as the RFC prints it");
    assert_eq!(&datagram[18..26], [0x7b, 0x9a, 0xec, 0x34, 0xd1, 0xb1, 0xc9, 0x8d], "as the RFC prints it");
    assert_eq!(server_name(label(&QUIC, &[(Forward, 0, &datagram)])).as_deref(), Some("example.com"));
}
