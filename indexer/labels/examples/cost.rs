//! Measures the time that a first payload costs: `cargo run --release -p netrewind-labels --example cost`.
//!
//! Each line is the time of one conversation with one packet, from a new [`Labeller`] to its end.

#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::hint::black_box;
use std::time::Instant;

use netrewind_labels::{ConversationPorts, Direction, Labeller, Transport};

const ROUNDS: u32 = 200_000;

/// A client hello as browsers send it, from hexadecimal digits.
fn client_hello() -> Vec<u8> {
    let ciphers: Vec<u8> = (0..16_u8).flat_map(|at| [0xc0, 0x13 + at]).collect();
    let extension = |number: u16, content: &[u8]| {
        [&number.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
    };
    let extensions = [
        extension(0, b"\0\x12\0\0\x0fwww.example.org"),
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        extension(13, b"\0\x10\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01"),
        extension(43, b"\x06\x1a\x1a\x03\x04\x03\x03"),
        extension(51, &[7; 38]),
        extension(21, &[0; 180]),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[32],
        &[9; 32],
        &(ciphers.len() as u16).to_be_bytes(),
        &ciphers,
        &[1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

/// An Initial packet in form: its protection does not come off, which costs as much as if it did.
fn quic_initial() -> Vec<u8> {
    let head = [&[0xc1, 0, 0, 0, 1, 8][..], &[5; 8], &[0, 0], &(0x4000_u16 | 1182).to_be_bytes()].concat();
    [head, vec![0x5a; 1182]].concat()
}

fn measure(name: &str, transport: Transport, ports: [u16; 2], payload: &[u8]) {
    let conversation = ConversationPorts { transport, ports };
    let started = Instant::now();
    for _ in 0..ROUNDS {
        let mut labeller = Labeller::new();
        black_box(labeller.push(&conversation, Direction::Forward, 0, black_box(payload)));
        black_box(labeller.finish(&conversation));
    }
    println!("{name:<32} {:>8.0} ns", started.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
}

fn main() {
    use Transport::{Tcp, Udp};
    let noise: Vec<u8> =
        (0..1400_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    let answer = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x04\x01a\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x09\0\x04\xc0\0\x02\x07";
    let request = b"GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n";
    measure("nothing, TCP", Tcp, [50_000, 50_001], &noise);
    measure("nothing, UDP", Udp, [50_000, 50_001], &noise);
    measure("nothing but a port, TCP", Tcp, [50_000, 25], &noise);
    measure("TLS client hello", Tcp, [50_000, 443], &client_hello());
    measure("DNS answer", Udp, [53, 50_000], answer);
    measure("HTTP request", Tcp, [50_000, 80], request);
    measure("QUIC Initial", Udp, [50_000, 443], &quic_initial());
}
