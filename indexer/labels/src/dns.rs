//! DNS messages (RFC 1035, section 4), over UDP, over TCP, and as mDNS (RFC 6762) and LLMNR (RFC 4795).
//!
//! Only the front of a message is read, as far as it is there: the first question and the first answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::cursor::ByteCursor;
use crate::labels::{ANSWERS_MAX, Dns, Labels, NAME_BYTES_MAX, Question, ResourceRecord};
use crate::text::{name, text};
use crate::verdict::Recognition;

const HEADER_BYTES: usize = 12;
const DNS_PORT: u16 = 53;
const MDNS_PORT: u16 = 5353;
const LLMNR_PORT: u16 = 5355;
/// NetBIOS has the same messages with its own names (RFC 1002).
const NETBIOS_PORT: u16 = 137;
/// Pointers followed for one name: a name has at most 127 labels, and senders compress by suffix.
const POINTERS_MAX: usize = 16;
/// The longest name on the wire.
const WIRE_NAME_BYTES_MAX: usize = 255;

mod record_type {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const DNAME: u16 = 39;
}

/// Name of the application between these ports, if they are DNS ports.
#[inline]
pub(crate) fn application([one, other]: [u16; 2]) -> Option<&'static str> {
    let has = |port| one == port || other == port;
    if has(MDNS_PORT) {
        Some("mdns")
    } else if has(LLMNR_PORT) {
        Some("llmnr")
    } else {
        has(DNS_PORT).then_some("dns")
    }
}

/// Judges a datagram. Away from DNS's ports only messages without any irregularity are taken for DNS.
pub(crate) fn recognise(datagram: &[u8], ports: [u16; 2]) -> Recognition {
    let application = application(ports);
    let may_be_dns = || !ports.contains(&NETBIOS_PORT) && is_regular(datagram);
    if application.is_none() && !may_be_dns() {
        return Recognition::Nothing;
    }
    recognise_message(datagram, application.unwrap_or("dns"))
}

/// Judges the front of a TCP stream between DNS's ports, where a length stands before each message.
pub(crate) fn recognise_stream(bytes: &[u8], application: &'static str, is_last: bool) -> Recognition {
    let mut cursor = ByteCursor(bytes);
    let Some(len) = cursor.u16().map(usize::from) else { return Recognition::more_unless(is_last) };
    if len < HEADER_BYTES {
        return Recognition::Nothing;
    }
    match cursor.take(len) {
        Some(message) => recognise_message(message, application),
        None if is_last => recognise_message(cursor.0, application),
        None => Recognition::More,
    }
}

fn recognise_message(message: &[u8], application: &'static str) -> Recognition {
    let Some(dns) = read(message) else { return Recognition::Nothing };
    // With multicast, everyone answers: another sender's response is another conversation.
    let is_whole = dns.response_code.is_some() || application != "dns";
    let labels = Box::new(Labels { application, dns: Some(dns), ..Labels::default() });
    if is_whole { Recognition::Whole(labels) } else { Recognition::Part(labels) }
}

struct DnsHeader {
    flags: u16,
    questions: u16,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

impl DnsHeader {
    fn read(cursor: &mut ByteCursor<'_>) -> Option<Self> {
        let _id = cursor.u16()?;
        Some(Self {
            flags: cursor.u16()?,
            questions: cursor.u16()?,
            answers: cursor.u16()?,
            authorities: cursor.u16()?,
            additionals: cursor.u16()?,
        })
    }

    fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }
}

/// Reads a message; `None` where neither a question nor an answer can be read.
fn read(message: &[u8]) -> Option<Dns> {
    let mut cursor = ByteCursor(message);
    let header = DnsHeader::read(&mut cursor)?;
    let mut dns =
        Dns { response_code: header.is_response().then_some((header.flags & 0xf) as u8), ..Dns::default() };
    let questions: Option<Vec<Question>> =
        (0..header.questions.min(ANSWERS_MAX as u16)).map(|_| question(message, &mut cursor)).collect();
    let are_questions_whole =
        questions.as_ref().is_some_and(|questions| questions.len() == header.questions.into());
    dns.question = match questions {
        Some(questions) => questions.into_iter().next(),
        None => question(message, &mut ByteCursor(message.get(HEADER_BYTES..)?)),
    };
    if are_questions_whole && header.is_response() {
        let answers = (0..header.answers).map_while(|_| answer(message, &mut cursor));
        dns.answers = answers.take(ANSWERS_MAX).collect();
    }
    (dns.question.is_some() || !dns.answers.is_empty()).then_some(dns)
}

fn question(message: &[u8], cursor: &mut ByteCursor<'_>) -> Option<Question> {
    let name = read_name(message, cursor)?;
    let record_type = cursor.u16()?;
    let _class = cursor.u16()?;
    Some(Question { name, record_type })
}

fn answer(message: &[u8], cursor: &mut ByteCursor<'_>) -> Option<ResourceRecord> {
    skip_name(cursor)?;
    let record_type = cursor.u16()?;
    let _class_and_ttl = cursor.take(6)?;
    let value = ByteCursor(cursor.vector16()?);
    Some(ResourceRecord { record_type, value: value_text(message, record_type, value).unwrap_or_default() })
}

fn value_text(message: &[u8], record_type: u16, mut value: ByteCursor<'_>) -> Option<Box<str>> {
    use record_type::*;
    match record_type {
        A => Some(Ipv4Addr::from_octets(value.0.try_into().ok()?).to_string().into()),
        AAAA => Some(Ipv6Addr::from_octets(value.0.try_into().ok()?).to_string().into()),
        NS | CNAME | PTR | DNAME => read_name(message, &mut value),
        MX => value.take(2).and_then(|_| read_name(message, &mut value)),
        SRV => value.take(6).and_then(|_| read_name(message, &mut value)),
        TXT => Some(text(value.vector8()?, NAME_BYTES_MAX)),
        _ => None,
    }
}

/// Passes over a name without following it.
fn skip_name(cursor: &mut ByteCursor<'_>) -> Option<()> {
    loop {
        match cursor.u8()? {
            0 => return Some(()),
            len @ 1..=63 => cursor.take(usize::from(len))?,
            0xc0.. => return cursor.take(1).map(drop),
            _ => return None,
        };
    }
}

/// Reads a name, through its pointers. Each has to point further to the front, so that following them ends.
fn read_name(message: &[u8], cursor: &mut ByteCursor<'_>) -> Option<Box<str>> {
    let (mut at, mut wire_bytes) = (*cursor, 0);
    // A cursor only knows what is left: where it stands follows from the message's end. Values of records end before it.
    let mut limit = message.len();
    skip_name(cursor)?;
    let mut labels = Vec::with_capacity(64);
    for _ in 0..=POINTERS_MAX {
        loop {
            match at.u8()? {
                0 => return Some(name(&labels, NAME_BYTES_MAX)),
                len @ 1..=63 => {
                    wire_bytes += usize::from(len) + 1;
                    if wire_bytes >= WIRE_NAME_BYTES_MAX {
                        return None;
                    }
                    push_label(&mut labels, at.take(usize::from(len))?);
                }
                high @ 0xc0.. => {
                    let target = usize::from(high & 0x3f) << 8 | usize::from(at.u8()?);
                    if target >= limit || target < HEADER_BYTES {
                        return None;
                    }
                    limit = target;
                    at = ByteCursor(message.get(target..)?);
                    break;
                }
                _ => return None,
            }
        }
    }
    None
}

/// Appends a label, and before it the dot that parts it from the last one. A dot inside is written as in master files.
fn push_label(labels: &mut Vec<u8>, label: &[u8]) {
    if !labels.is_empty() {
        labels.push(b'.');
    }
    for &byte in label {
        if byte == b'.' {
            labels.push(b'\\');
        }
        labels.push(byte);
    }
}

/// True if a datagram is DNS beyond doubt: a standard query or response for one name of class IN, with a type that is in use,
/// every record in place, and no byte left over.
fn is_regular(datagram: &[u8]) -> bool {
    may_be_message(datagram) && walk_regular(datagram).is_some()
}

/// True if a datagram's header is that of a regular message. Takes nanoseconds.
pub(crate) fn may_be_message(datagram: &[u8]) -> bool {
    matches!(datagram, [_, _, 0 | 1 | 0x80..=0x87, _, 0, 1, 0, _, 0, _, 0, _, ..])
}

fn walk_regular(datagram: &[u8]) -> Option<()> {
    let mut cursor = ByteCursor(datagram);
    let header = DnsHeader::read(&mut cursor)?;
    let records = header.answers + header.authorities + header.additionals;
    let question_at = cursor;
    skip_name(&mut cursor)?;
    let record_type = cursor.u16()?;
    let is_in_use = matches!(record_type, 1..=65 | 249..=257) && record_type != record_type::OPT;
    let has_name = question_at.0.first() != Some(&0);
    if !is_in_use || !has_name || cursor.u16()? != 1 || !header.is_response() && header.answers != 0 {
        return None;
    }
    for _ in 0..records {
        skip_name(&mut cursor)?;
        cursor.take(8)?;
        cursor.vector16()?;
    }
    cursor.0.is_empty().then_some(())
}
