//! Whatever bytes a conversation begins with, its labels are found in bounded memory, and are the same however a stream is
//! cut into packets.

use arbitrary::{Arbitrary, Unstructured};
use netrewind_labels::{
    ConversationPorts, Direction, HEAP_BYTES_MAX, LabelStep, Labeller, Labels, Transport,
};

const PORTS: [[u16; 2]; 6] =
    [[50_000, 443], [50_000, 53], [5353, 5353], [50_000, 50_001], [50_000, 1900], [22, 50_000]];

fn label<'a>(
    conversation: &ConversationPorts,
    packets: impl Iterator<Item = (bool, usize, &'a [u8])>,
) -> Option<Box<Labels>> {
    let mut labeller = Labeller::new();
    for (is_forward, offset, payload) in packets {
        let direction = if is_forward { Direction::Forward } else { Direction::Backward };
        let step = labeller.push(conversation, direction, offset as u32, payload);
        assert!(labeller.heap_bytes() <= HEAP_BYTES_MAX);
        if let LabelStep::Done(labels) = step {
            return labels;
        }
    }
    labeller.finish(conversation)
}

/// One direction in pieces, in or against the order of the stream.
fn cut(is_forward: bool, bytes: &[u8], step: usize, is_reversed: bool) -> Vec<(bool, usize, &[u8])> {
    let pieces = bytes.chunks(step).enumerate();
    let mut packets: Vec<_> = pieces.map(|(at, piece)| (is_forward, at * step, piece)).collect();
    if is_reversed {
        packets.reverse();
    }
    packets
}

fn check(labels: Option<Box<Labels>>) {
    labels.inspect(|labels| labels.visit(|_, value| assert!(!value.chars().any(char::is_control))));
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(input) = <(u8, u8, bool, &[u8], &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else {
        return;
    };
    let (ports, piece_bytes, is_tcp, forward, backward) = input;
    let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
    let conversation = ConversationPorts { transport, ports: PORTS[usize::from(ports) % PORTS.len()] };
    let whole = label(&conversation, [(true, 0, forward), (false, 0, backward)].into_iter());
    let step = usize::from(piece_bytes) + 1;
    let is_reversed = ports & 0x80 != 0;
    let packets = [cut(true, forward, step, is_reversed), cut(false, backward, step, is_reversed)].concat();
    let split = label(&conversation, packets.into_iter());
    if is_tcp {
        assert_eq!(split, whole);
    }
    check(split);
    check(whole);
}
