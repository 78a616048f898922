//! Fragments judged together with the first of their packet, the slow way: every packet is compared with every other.

use std::cell::RefCell;

use netrewind_extractor::{Query, ViewMode};
use netrewind_packet::{Series, dissect};

use super::{Stored, TestStore};

const WINDOW_NS: u64 = 1_000_000_000;
const CHAIN: usize = 2;

/// What of fragments is true of a packet.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Series, offset, and whether more follow.
    pub parts: Vec<(Series, usize, bool)>,
    /// How many views it has.
    pub views: usize,
}

impl Parts {
    /// As the index takes it apart.
    pub fn dissected(packet: &Stored) -> Self {
        let dissection = dissect(packet.link_type, &packet.bytes, packet.header.len);
        let parts = dissection.fragments(&packet.bytes);
        let parts = parts.map(|part| (part.series, part.offset, part.more)).collect();
        Self { parts, views: dissection.views().len() }
    }

    fn later(&self) -> Option<Series> {
        self.parts.iter().find(|(_, offset, _)| *offset > 0).map(|(series, ..)| *series)
    }

    fn is_first_of(&self, wanted: Series) -> bool {
        self.parts.iter().any(|(series, offset, more)| *series == wanted && *offset == 0 && *more)
    }
}

/// What the filters say of a packet as it is.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub is_accepted: bool,
    /// Those that look at it as received accept it: only then it can be accepted for the sake of another.
    pub by_outer: bool,
}

struct Linking<'a> {
    packets: Vec<(&'a Stored, Parts, Own)>,
    asks_innermost: bool,
}

impl Linking<'_> {
    fn accepts(&self, number: usize, chain: usize) -> bool {
        let (packet, parts, own) = &self.packets[number];
        let series = parts.later().filter(|_| chain > 0 && own.by_outer);
        let Some(series) = series else { return own.is_accepted };
        let distance = |other: usize| self.packets[other].0.at().ns().abs_diff(packet.at().ns());
        let is_near =
            |other: &usize| self.packets[*other].1.is_first_of(series) && distance(*other) <= WINDOW_NS;
        let firsts: Vec<usize> = (0..self.packets.len()).filter(is_near).collect();
        let Some(nearest) = firsts.iter().map(|&first| distance(first)).min() else {
            return own.is_accepted;
        };
        firsts.iter().filter(|&&first| distance(first) == nearest).any(|&first| {
            let is_deeper = self.asks_innermost && self.packets[first].1.views > usize::from(series.view) + 1;
            self.accepts(first, chain - 1) || (own.is_accepted && !is_deeper)
        })
    }
}

/// The answer: what `own` says of every packet, and of later fragments together with their first.
pub fn linked_model(
    test: &TestStore,
    query: &Query,
    parts: &dyn Fn(&Stored) -> Parts,
    own: &mut dyn FnMut(&Stored) -> Own,
) -> Vec<Stored> {
    let mut segments: Vec<_> = test.segments.iter().collect();
    segments.sort_by_key(|(name, _)| (name.lane, *name));
    let packets = segments.iter().flat_map(|(_, packets)| packets);
    let packets = packets.map(|packet| (packet, parts(packet), own(packet))).collect();
    let asks_innermost =
        query.view == ViewMode::Inner || query.joined.iter().any(|joined| joined.view == ViewMode::Inner);
    let linking = Linking { packets, asks_innermost };
    let number = RefCell::new(0..);
    test.model(query, &mut |packet| {
        // The model asks for the packets of the range in this order.
        let is_it = |number: &usize| std::ptr::eq(linking.packets[*number].0, packet);
        let number = number.borrow_mut().by_ref().find(is_it).unwrap_or(0);
        linking.accepts(number, CHAIN)
    })
}
