//! Conversations made for tests.

use netrewind_labels::{ConversationPorts, Direction, LabelStep, Labeller, Labels, Transport};

pub const HTTPS: ConversationPorts = ConversationPorts { transport: Transport::Tcp, ports: [50_000, 443] };

/// Pushes packets as a recorder would: until there is nothing more to know.
pub fn label(conversation: &ConversationPorts, packets: &[(Direction, usize, &[u8])]) -> Option<Box<Labels>> {
    let mut labeller = Labeller::new();
    for (direction, offset, payload) in packets {
        let step = labeller.push(conversation, *direction, *offset as u32, payload);
        assert!(labeller.heap_bytes() <= netrewind_labels::HEAP_BYTES_MAX);
        if let LabelStep::Done(labels) = step {
            return labels;
        }
    }
    labeller.finish(conversation)
}

/// A vector with its length in front, in `width` bytes.
fn vector(width: usize, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u32).to_be_bytes();
    [&len[4 - width..], content].concat()
}

fn extension(number: u16, content: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &vector(2, content)].concat()
}

/// A client hello with its handshake header; `padding` makes it longer.
pub fn client_hello(server_name: &str, padding: usize) -> Vec<u8> {
    let name = vector(2, &[&[0][..], &vector(2, server_name.as_bytes())].concat());
    let extensions = [
        extension(0x1a1a, &[]),
        extension(0, &name),
        extension(16, &vector(2, b"\x02h2\x08http/1.1")),
        extension(13, &vector(2, &[4, 3, 8, 4])),
        extension(43, &vector(1, &[0x5a, 0x5a, 3, 4, 3, 3])),
        extension(21, &vec![0; padding]),
    ];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[9; 32]),
        &vector(2, &[0x13, 1, 0x13, 2, 0xc0, 0x2b]),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ];
    [&[1][..], &vector(3, &body.concat())].concat()
}

/// The message in records of at most `record_bytes_max` bytes.
pub fn records(message: &[u8], record_bytes_max: usize) -> Vec<u8> {
    let record = |content: &[u8]| [&[22, 3, 1][..], &vector(2, content)].concat();
    message.chunks(record_bytes_max).flat_map(record).collect()
}
