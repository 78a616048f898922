//! The state of a conversation from its first packet until its labels are known.

use crate::labels::Labels;
use crate::prefix::Prefix;
use crate::verdict::Recognition;
use crate::{BYTES_MAX, DATAGRAMS_MAX, Direction, Transport, dns, http, quic, services, ssh, tls};

/// Facts about a conversation that are known without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationPorts {
    /// TCP or UDP.
    pub transport: Transport,
    /// The ports of the endpoint that [`Direction::Forward`] comes from and of the other one.
    pub ports: [u16; 2],
}

/// Next step after a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelStep {
    /// More bytes may give more labels: by direction (forward, backward) those below this offset of the stream, or of each
    /// datagram; 0 if that direction has nothing more to give. At the end of the conversation, or to stop waiting, call
    /// [`Labeller::finish`].
    NeedMore([u16; 2]),
    /// Nothing more is to be learnt: stop pushing.
    Done(Option<Box<Labels>>),
}

/// Recognises the application of one conversation. It takes 56 bytes, and allocates only once the bytes seen so far may be the
/// front of something: at most [`crate::HEAP_BYTES_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Labeller {
    sides: [DirectionState; 2],
    quic: Option<Box<quic::QuicConnection>>,
    found: Option<Box<Labels>>,
    is_done: bool,
}

#[derive(Clone, Debug, Default)]
struct DirectionState {
    pending: Option<Box<Prefix>>,
    is_closed: bool,
    datagrams: u8,
}

impl Labeller {
    /// A conversation of which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the payload of a packet. Over TCP `offset` is the place of its first byte in the stream, counted from the first
    /// byte after the SYN (or from the first byte seen); packets may come in any order and overlap. Over UDP it is ignored.
    /// Empty payloads are ignored.
    pub fn push(
        &mut self,
        conversation: &ConversationPorts,
        direction: Direction,
        offset: u32,
        payload: &[u8],
    ) -> LabelStep {
        if self.is_done {
            return LabelStep::Done(None);
        }
        if !payload.is_empty() && !self.sides[direction as usize].is_closed {
            match conversation.transport {
                Transport::Tcp => self.segment(conversation, direction, offset as usize, payload),
                Transport::Udp => self.datagram(conversation, direction, payload),
            }
        }
        self.step(conversation)
    }

    /// Ends the conversation, and returns the labels from the bytes that came.
    pub fn finish(mut self, conversation: &ConversationPorts) -> Option<Box<Labels>> {
        for direction in [Direction::Forward, Direction::Backward] {
            if let Some(pending) = self.sides[direction as usize].pending.take() {
                let verdict = recognise(conversation, direction, pending.contiguous(), true);
                self.take(direction, verdict);
            }
        }
        self.conclude(conversation)
    }

    /// Bytes used on the heap, without the labels found.
    pub fn heap_bytes(&self) -> usize {
        let pending = self.sides.iter().flat_map(|side| &side.pending);
        let prefixes: usize = pending.map(|prefix| size_of::<Prefix>() + prefix.heap_bytes()).sum();
        let quic = self.quic.as_ref().map_or(0, |quic| size_of::<quic::QuicConnection>() + quic.heap_bytes());
        prefixes + quic
    }

    fn segment(
        &mut self,
        conversation: &ConversationPorts,
        direction: Direction,
        offset: usize,
        payload: &[u8],
    ) {
        let side = &mut self.sides[direction as usize];
        if offset >= BYTES_MAX {
            return;
        }
        // Most often the first packet decides, and then nothing needs to be kept.
        let front = &payload[..payload.len().min(BYTES_MAX)];
        let is_first = side.pending.is_none() && offset == 0;
        if !is_first {
            side.pending.get_or_insert_default().insert(offset, payload);
        }
        let bytes = side.pending.as_ref().map_or(front, |pending| pending.contiguous());
        if bytes.is_empty() {
            return;
        }
        let verdict = recognise(conversation, direction, bytes, bytes.len() == BYTES_MAX);
        if is_first && matches!(verdict, Recognition::More) {
            side.pending.get_or_insert_default().insert(0, front);
        }
        self.take(direction, verdict);
    }

    fn datagram(&mut self, conversation: &ConversationPorts, direction: Direction, payload: &[u8]) {
        let side = &mut self.sides[direction as usize];
        side.datagrams += 1;
        let is_last = side.datagrams == DATAGRAMS_MAX;
        let verdict = if quic::is_likely(payload) {
            self.quic_datagram(direction, payload)
        } else if tls::is_likely_dtls(payload) {
            tls::recognise_dtls(payload)
        } else {
            match http::recognise_datagram(payload) {
                Recognition::Nothing => {
                    dns::recognise(&payload[..payload.len().min(BYTES_MAX)], conversation.ports)
                }
                verdict => verdict,
            }
        };
        match verdict {
            // An answer to another question: the first question's may still come.
            Recognition::Whole(labels) if self.asked_something_else(&labels) => {}
            Recognition::Nothing | Recognition::More => {}
            verdict => return self.take(direction, verdict),
        }
        if is_last {
            self.sides[direction as usize].close();
        }
    }

    fn asked_something_else(&self, answer: &Labels) -> bool {
        let question = |labels: &Labels| labels.dns.as_ref().and_then(|dns| dns.question.clone());
        let asked = self.found.as_deref().and_then(question);
        asked.is_some() && question(answer).is_some() && asked != question(answer)
    }

    /// QUIC's labels grow with each datagram, until the client hello is whole.
    fn quic_datagram(&mut self, direction: Direction, payload: &[u8]) -> Recognition {
        let connection = self.quic.get_or_insert_with(|| Box::new(quic::QuicConnection::new()));
        match connection.push(direction, payload) {
            Some(told @ quic::QuicFinding::Hello(..)) => Recognition::Whole(told.labels()),
            Some(told) => {
                self.keep(direction, told.labels());
                Recognition::More
            }
            None => Recognition::Nothing,
        }
    }

    fn take(&mut self, direction: Direction, verdict: Recognition) {
        let side = &mut self.sides[direction as usize];
        match verdict {
            Recognition::More if side.pending.is_some() => return,
            Recognition::More | Recognition::Nothing => {}
            Recognition::Part(labels) => self.keep(direction, labels),
            Recognition::Whole(mut labels) => {
                if let Some(found) = self.found.take().filter(|found| found.application == labels.application)
                {
                    labels.fill_from(*found);
                }
                self.found = Some(labels);
                self.sides.iter_mut().for_each(DirectionState::close);
            }
        }
        self.sides[direction as usize].close();
    }

    /// Joins the labels of both directions. If they contradict each other, the forward one counts.
    fn keep(&mut self, direction: Direction, mut labels: Box<Labels>) {
        self.found = Some(match self.found.take() {
            None => labels,
            Some(mut found) if direction == Direction::Backward || found.application == "quic" => {
                if found.application == labels.application {
                    found.fill_from(*labels);
                }
                found
            }
            Some(found) => {
                if found.application == labels.application {
                    labels.fill_from(*found);
                }
                labels
            }
        });
    }

    fn step(&mut self, conversation: &ConversationPorts) -> LabelStep {
        let wanted = self.sides.each_ref().map(|side| if side.is_closed { 0 } else { BYTES_MAX as u16 });
        if wanted == [0, 0] {
            self.is_done = true;
            return LabelStep::Done(self.conclude(conversation));
        }
        LabelStep::NeedMore(wanted)
    }

    fn conclude(&mut self, conversation: &ConversationPorts) -> Option<Box<Labels>> {
        self.quic = None;
        self.found.take().or_else(|| {
            let guess = services::guess(conversation.transport, conversation.ports)?;
            Some(Box::new(Labels { application: guess, is_guess: true, ..Labels::default() }))
        })
    }
}

impl DirectionState {
    fn close(&mut self) {
        *self = Self { pending: None, is_closed: true, datagrams: self.datagrams };
    }
}

/// The first byte of the version in a record of TLS (RFC 8446, section 5.1).
const TLS_MAJOR: u8 = 3;
/// Letters that every method of HTTP, and the banner of SSH, begin with.
const METHOD_LETTERS_LEAST: usize = 3;

/// True if a payload between these ports can begin a stream, or be a datagram, that labels can be read from. Takes nanoseconds.
/// Of any other payload a [`Labeller`] only notes that there was one.
#[inline]
pub fn may_tell(transport: Transport, ports: [u16; 2], payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else { return false };
    // Most payloads of TCP are told by their first byte.
    let may_begin = match transport {
        Transport::Tcp => matches!(first, 22 | b'-' | b'A'..=b'Z') && may_begin_stream(payload),
        Transport::Udp => may_be_datagram(payload),
    };
    may_begin || dns::application(ports).is_some()
}

fn may_begin_stream(payload: &[u8]) -> bool {
    match payload {
        [22, major, ..] => *major == TLS_MAJOR,
        [22] => true,
        _ => payload.iter().take(METHOD_LETTERS_LEAST).all(|&letter| matches!(letter, b'A'..=b'Z' | b'-')),
    }
}

#[inline]
fn may_be_datagram(payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else { return false };
    first.is_ascii_uppercase()
        || quic::is_likely(payload)
        || tls::is_likely_dtls(payload)
        || dns::may_be_message(payload)
}

/// Judges the front of one direction of a TCP stream, which is not empty.
fn recognise(
    conversation: &ConversationPorts,
    direction: Direction,
    bytes: &[u8],
    is_last: bool,
) -> Recognition {
    if let Some(application) = dns::application(conversation.ports) {
        return dns::recognise_stream(bytes, application, is_last);
    }
    match bytes.first() {
        Some(22) => tls::recognise(bytes, is_last),
        Some(b'S') if bytes.get(1).is_none_or(|&second| second == b'S') => {
            match ssh::recognise(bytes, direction, is_last) {
                Recognition::Nothing => http::recognise(bytes, is_last),
                verdict => verdict,
            }
        }
        Some(b'A'..=b'Z') => http::recognise(bytes, is_last),
        _ => Recognition::Nothing,
    }
}
