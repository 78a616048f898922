//! One Ethernet frame of a conversation.

use crate::Conversation;

/// Bytes of random payload that frames are cut from.
pub(crate) const PAYLOAD_BYTES: usize = 4096;
/// Payloads begin within this many of them, so that the longest frame fits.
const PAYLOAD_STARTS: u32 = 2048;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TPID_8021Q: [u8; 2] = [0x81, 0x00];
const IPV6_NETWORK: [u8; 12] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0];
/// The shortest frame that an IPv6 TCP segment fits in, tag included.
const IPV6_FRAME_BYTES_MIN: usize = 78;
const FLAG_FIN_ACK: u8 = 0x11;
const FLAG_SYN: u8 = 0x02;
const FLAG_ACK: u8 = 0x10;

/// Properties of a single frame.
pub(crate) struct Shape {
    pub forward: bool,
    pub tagged: bool,
    pub size: usize,
    pub identification: u64,
}

/// The ones' complement sum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn length(bytes: usize) -> [u8; 2] {
    (bytes as u16).to_be_bytes()
}

/// Writes the frame to `frame`, and advances the conversation's sequence number.
pub(crate) fn write(frame: &mut Vec<u8>, conversation: &mut Conversation, shape: &Shape, payload: &[u8]) {
    let size = if conversation.ipv6 { shape.size.max(IPV6_FRAME_BYTES_MIN) } else { shape.size };
    frame.clear();
    let (client_mac, server_mac) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (to, from) = if shape.forward { (server_mac, client_mac) } else { (client_mac, server_mac) };
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    if shape.tagged {
        frame.extend_from_slice(&TPID_8021Q);
        frame.extend_from_slice(&[0, 100 + (conversation.client & 3) as u8]);
    }
    frame.extend_from_slice(if conversation.ipv6 { &ETHERTYPE_IPV6 } else { &ETHERTYPE_IPV4 });
    network_header(frame, conversation, shape, size);
    transport_header(frame, conversation, shape.forward, size);
    let rest = size.saturating_sub(frame.len());
    let start = (conversation.sequence % PAYLOAD_STARTS) as usize;
    frame.extend_from_slice(&payload[start..start + rest]);
    conversation.sequence = conversation.sequence.wrapping_add(rest as u32);
}

fn network_header(frame: &mut Vec<u8>, conversation: &Conversation, shape: &Shape, size: usize) {
    let start = frame.len();
    let protocol = if conversation.is_udp() { 17 } else { 6 };
    let (source, destination) = if shape.forward {
        (conversation.client, conversation.server)
    } else {
        (conversation.server, conversation.client)
    };
    if conversation.ipv6 {
        frame.extend_from_slice(&[0x60, 0, 0, 0]);
        frame.extend_from_slice(&length(size - start - 40));
        frame.extend_from_slice(&[protocol, 64]);
        for address in [source, destination] {
            frame.extend_from_slice(&IPV6_NETWORK);
            frame.extend_from_slice(&address.to_be_bytes());
        }
        return;
    }
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&length(size - start));
    frame.extend_from_slice(&(shape.identification as u16).to_be_bytes());
    frame.extend_from_slice(&[0x40, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&source.to_be_bytes());
    frame.extend_from_slice(&destination.to_be_bytes());
    let sum = checksum(&frame[start..]);
    frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}

fn transport_header(frame: &mut Vec<u8>, conversation: &Conversation, forward: bool, size: usize) {
    let rest = size - frame.len();
    let (source, destination) = if forward {
        (conversation.client_port, conversation.server_port)
    } else {
        (conversation.server_port, conversation.client_port)
    };
    frame.extend_from_slice(&source.to_be_bytes());
    frame.extend_from_slice(&destination.to_be_bytes());
    if conversation.is_udp() {
        frame.extend_from_slice(&length(rest));
        frame.extend_from_slice(&[0, 0]);
        return;
    }
    let flags = match (conversation.begun, conversation.packets_left) {
        (false, _) => FLAG_SYN,
        (true, 1) => FLAG_FIN_ACK,
        (true, _) => FLAG_ACK,
    };
    frame.extend_from_slice(&conversation.sequence.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
}
