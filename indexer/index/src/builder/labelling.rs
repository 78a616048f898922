//! The observed conversations of a segment, and their labels.

use std::collections::{HashMap, VecDeque};

use netrewind_labels::{self as labels, Direction, LabelStep, Labeller, Labels, Transport};

use crate::observations::{Label, LabelKey};
use crate::strings::STRING_BYTES_MAX;

/// Conversations that are being labelled at the same time.
pub(crate) const LABELLING_MAX: usize = 1 << 16;
/// Largest number of conversations whose bytes are held.
pub(crate) const HOLDING_MAX: usize = 1 << 11;
/// Bytes of all distinct texts together.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 26;

/// Memory for this many conversations is kept from one segment to the next.
const CONVERSATIONS_KEPT: usize = 1 << 18;

/// Both directions of flows with the same two ends, protocol and tunnels.
#[derive(Clone, Debug)]
pub(super) struct LabelledConversation {
    facts: labels::ConversationPorts,
    /// The lesser end is the one that [`Direction::Forward`] comes from.
    pub(super) is_lesser_forward: bool,
    /// `None` before a protocol was recognised, and once the labels are final.
    labeller: Option<Box<Labeller>>,
    is_settled: bool,
    is_holding: bool,
    pub(super) round_trip_ns: Option<u64>,
    /// Next sequence numbers of client and server, once both have sent a SYN.
    pub(super) handshake: Option<(u32, u32)>,
    /// Its place in [`Labelling::labels`].
    labels: (u32, u32),
}

/// All conversations, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Labelling {
    pub(super) conversations: Vec<LabelledConversation>,
    open: ConversationQueue,
    holding: ConversationQueue,
    labels: Vec<Label>,
    texts: HashMap<Box<str>, u32>,
    text_bytes: usize,
}

/// Conversations in the order in which they came, some of which have left since.
#[derive(Clone, Debug, Default)]
struct ConversationQueue {
    numbers: VecDeque<u32>,
    present: usize,
}

impl Labelling {
    pub(super) fn reset(&mut self) {
        self.conversations.clear();
        self.conversations.shrink_to(CONVERSATIONS_KEPT);
        self.labels.clear();
        self.labels.shrink_to(CONVERSATIONS_KEPT);
        (self.open, self.holding) = Default::default();
        (self.texts, self.text_bytes) = Default::default();
    }

    /// A new conversation's number.
    pub(super) fn begin(&mut self, transport: Transport, ports: [u16; 2], is_lesser_forward: bool) -> u32 {
        let number = self.conversations.len() as u32;
        self.conversations.push(LabelledConversation {
            facts: labels::ConversationPorts { transport, ports },
            is_lesser_forward,
            labeller: None,
            is_settled: false,
            is_holding: false,
            round_trip_ns: None,
            handshake: None,
            labels: (0, 0),
        });
        number
    }

    /// Takes a payload with its offset in the stream. True if more bytes of this direction may give more labels.
    pub(super) fn push(&mut self, number: u32, is_lesser: bool, offset: u32, payload: &[u8]) -> bool {
        let conversation = &mut self.conversations[number as usize];
        if conversation.is_settled {
            return false;
        }
        if conversation.labeller.is_none() {
            self.open.numbers.push_back(number);
            self.open.present += 1;
            if self.open.present > LABELLING_MAX {
                self.end_oldest(false);
            }
        }
        let conversation = &mut self.conversations[number as usize];
        let labeller = conversation.labeller.get_or_insert_default();
        let direction = match is_lesser == conversation.is_lesser_forward {
            true => Direction::Forward,
            false => Direction::Backward,
        };
        let step = labeller.push(&conversation.facts, direction, offset, payload);
        match step {
            LabelStep::Done(found) => {
                conversation.labeller = None;
                self.settle(number, found);
                false
            }
            LabelStep::NeedMore(wanted) => {
                let holds = labeller.heap_bytes() > 0;
                self.hold(number, holds);
                wanted[direction as usize] > 0
            }
        }
    }

    /// Ends the labelling of all conversations.
    pub(super) fn finish(&mut self) {
        for number in 0..self.conversations.len() as u32 {
            self.end(number);
        }
    }

    /// The labels of a conversation, their texts by number as in [`Self::texts`].
    pub(super) fn labels_of(&self, number: u32) -> &[Label] {
        let (from, to) = self.conversations[number as usize].labels;
        &self.labels[from as usize..to as usize]
    }

    /// All texts, ascending, and for each number its place among them.
    pub(super) fn texts(&self) -> (Vec<&str>, Vec<u32>) {
        let mut sorted: Vec<(&str, u32)> =
            self.texts.iter().map(|(text, &number)| (&**text, number)).collect();
        sorted.sort_unstable();
        let mut places = vec![0; sorted.len()];
        for (place, (_, number)) in (0..).zip(&sorted) {
            places[*number as usize] = place;
        }
        (sorted.into_iter().map(|(text, _)| text).collect(), places)
    }

    fn hold(&mut self, number: u32, holds: bool) {
        let conversation = &mut self.conversations[number as usize];
        match (std::mem::replace(&mut conversation.is_holding, holds), holds) {
            (false, true) => {
                self.holding.numbers.push_back(number);
                self.holding.present += 1;
            }
            (true, false) => self.holding.present -= 1,
            _ => {}
        }
        if self.holding.present > HOLDING_MAX {
            self.end_oldest(true);
        }
    }

    /// Ends the conversation that has been labelled, or held, for longest.
    #[cold]
    fn end_oldest(&mut self, of_holding: bool) {
        loop {
            let queue = if of_holding { &mut self.holding } else { &mut self.open };
            let Some(number) = queue.numbers.pop_front() else { return };
            let conversation = &self.conversations[number as usize];
            if conversation.labeller.is_some() && (conversation.is_holding || !of_holding) {
                return self.end(number);
            }
        }
    }

    fn end(&mut self, number: u32) {
        let conversation = &mut self.conversations[number as usize];
        if let Some(labeller) = conversation.labeller.take() {
            let found = labeller.finish(&conversation.facts);
            self.settle(number, found);
        }
    }

    fn settle(&mut self, number: u32, found: Option<Box<Labels>>) {
        self.hold(number, false);
        self.open.present -= 1;
        self.conversations[number as usize].is_settled = true;
        let Some(found) = found.filter(|found| !found.is_guess) else { return };
        let (from, texts) = (self.labels.len(), &mut self.texts);
        let mut is_whole = true;
        found.visit(|key, text| {
            let Some(key) = LabelKey::of_name(key).filter(|_| text.len() <= STRING_BYTES_MAX) else { return };
            let number = match texts.get(text) {
                Some(&number) => number,
                None if self.text_bytes + text.len() > TEXT_BYTES_MAX => {
                    is_whole = false;
                    return;
                }
                None => {
                    let number = texts.len() as u32;
                    self.text_bytes += text.len();
                    texts.insert(text.into(), number);
                    number
                }
            };
            self.labels.push((key, number));
        });
        if !is_whole {
            self.labels.truncate(from);
        }
        self.conversations[number as usize].labels = (from as u32, self.labels.len() as u32);
    }
}
