//! TCP segments in a line: flags, numbers, window, and what they carry (RFC 9293, RFC 7323).

use netrewind_labels::Transport;
use netrewind_packet::bytes::{byte_at, u16_at, u32_at};
use netrewind_packet::tcp_field;

use super::application;
use super::line::PacketLine;

/// Offset of the window.
const WINDOW: usize = 14;
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;
/// Flags from the lowest bit on.
const FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
/// Options (IANA) that are told.
const OPTION_END: u8 = 0;
const OPTION_NOTHING: u8 = 1;
const OPTION_SEGMENT_BYTES_MAX: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 3;

/// Describes the segment at the front of `segment`, which had `bytes` bytes on the wire.
pub(super) fn describe(line: &mut PacketLine, segment: &[u8], bytes: usize) {
    line.is_of("TCP");
    if let (Some(source), Some(destination)) = (line.source_port, line.destination_port) {
        line.say(format_args!("{source} → {destination}"));
    }
    let Some(flags) = byte_at(segment, tcp_field::FLAGS) else { return };
    let names: Vec<_> =
        FLAGS.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, name)| *name).collect();
    line.say(format_args!("[{}]", names.join(", ")));
    if let Some(sequence) = u32_at(segment, tcp_field::SEQUENCE) {
        line.say(format_args!("seq {sequence}"));
    }
    if let Some(acknowledged) = u32_at(segment, tcp_field::ACKNOWLEDGMENT).filter(|_| flags & ACK != 0) {
        line.say(format_args!("ack {acknowledged}"));
    }
    if let Some(window) = u16_at(segment, WINDOW) {
        line.say(format_args!("win {window}"));
    }
    let header_bytes = byte_at(segment, tcp_field::DATA_OFFSET).map_or(0, |byte| usize::from(byte >> 4) * 4);
    if header_bytes < tcp_field::HEADER_BYTES {
        line.say(format_args!("(header of {header_bytes} bytes)"));
        return;
    }
    line.say(format_args!("len {}", bytes.saturating_sub(header_bytes)));
    if flags & SYN != 0 {
        let options = segment.get(tcp_field::HEADER_BYTES..header_bytes.min(segment.len()));
        describe_options(line, options.unwrap_or_default());
    }
    let payload = segment.get(header_bytes..).unwrap_or_default();
    application::describe(line, Transport::Tcp, payload);
}

/// Tells the options that a SYN settles.
fn describe_options(line: &mut PacketLine, mut options: &[u8]) {
    loop {
        options = match *options {
            [OPTION_NOTHING, ref rest @ ..] => rest,
            [] | [OPTION_END, ..] | [_] => return,
            [kind, length, ..] => {
                let Some((option, rest)) = options.split_at_checked(usize::from(length).max(2)) else {
                    return;
                };
                match kind {
                    OPTION_SEGMENT_BYTES_MAX => {
                        u16_at(option, 2).into_iter().for_each(|bytes| line.say(format_args!("mss {bytes}")));
                    }
                    OPTION_WINDOW_SCALE => {
                        byte_at(option, 2).into_iter().for_each(|shift| line.say(format_args!("ws {shift}")));
                    }
                    _ => {}
                }
                rest
            }
        };
    }
}
