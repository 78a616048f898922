//! Packets in the order of the answer: those that wait, and later ones.

use std::collections::VecDeque;

use super::item::OutputPacket;
use super::series::Fate;

/// Places, by their number. Packets leave from the front.
#[derive(Debug, Default)]
pub(super) struct OutputQueue {
    slots: VecDeque<QueueSlot>,
    /// The number of the first.
    first: u64,
    together_bytes: usize,
}

#[derive(Debug)]
struct QueueSlot {
    item: Option<OutputPacket>,
    waits: bool,
}

impl OutputQueue {
    /// The number of the place that a packet has now; it waits.
    pub(super) fn push(&mut self, item: OutputPacket) -> u64 {
        self.together_bytes += item.own_bytes();
        self.slots.push_back(QueueSlot { item: Some(item), waits: true });
        self.first + self.slots.len() as u64 - 1
    }

    fn slot(&mut self, number: u64) -> Option<&mut QueueSlot> {
        let at = number.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    pub(super) fn item(&self, number: u64) -> Option<&OutputPacket> {
        let at = number.checked_sub(self.first)?;
        self.slots.get(usize::try_from(at).ok()?)?.item.as_ref()
    }

    /// Puts a packet in a place, where it waits.
    pub(super) fn put(&mut self, number: u64, item: OutputPacket) {
        self.drop(number);
        let bytes = item.own_bytes();
        if let Some(slot) = self.slot(number) {
            *slot = QueueSlot { item: Some(item), waits: true };
            self.together_bytes += bytes;
        }
    }

    /// It need not wait any more.
    pub(super) fn release(&mut self, number: u64) {
        if let Some(slot) = self.slot(number) {
            slot.waits = false;
        }
    }

    fn drop(&mut self, number: u64) {
        let Some(slot) = self.slot(number) else { return };
        slot.waits = false;
        let bytes = slot.item.take().map_or(0, |item| item.own_bytes());
        self.together_bytes -= bytes;
    }

    /// Releases or drops the packets in these slots; returns the number dropped.
    pub(super) fn meet(&mut self, slots: impl IntoIterator<Item = u64>, fate: Fate) -> u64 {
        let mut dropped = 0;
        for slot in slots {
            match fate {
                Fate::AsSent => self.release(slot),
                Fate::Dropped => {
                    self.drop(slot);
                    dropped += 1;
                }
            }
        }
        dropped
    }

    /// The first packet, if it need not wait.
    pub(super) fn pop(&mut self) -> Option<OutputPacket> {
        while !self.is_empty() && !self.waits() {
            self.first += 1;
            if let Some(item) = self.slots.pop_front().and_then(|slot| slot.item) {
                self.together_bytes -= item.own_bytes();
                return Some(item);
            }
        }
        None
    }

    /// True if the first one waits.
    pub(super) fn waits(&self) -> bool {
        self.slots.front().is_some_and(|slot| slot.waits)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn together_bytes(&self) -> usize {
        self.together_bytes
    }
}
