//! Catalog conditions of a search: a condition holds for all conversations that the search accepts, and may hold for more.

use std::ops::Bound;

use crate::condition::{Condition, NumberColumn};
use netrewind_flows::conversation::Conversation;
use netrewind_flows::search::{
    FieldTest, How, LABELS, NumberField, Search, SearchExpression, SearchSide, TextField, words,
};

/// Bytes of a word that the catalog keeps; the rest of longer ones is ignored.
const WORD_BYTES_MAX: usize = 128;

/// Condition that holds for all conversations a search finds.
pub fn condition_of(search: &Search) -> Condition {
    of_expression(search.expression(), true)
}

/// The words that a conversation is found by.
pub fn words_of(flow: &Conversation) -> Vec<String> {
    let mut found = Vec::new();
    let labels = LABELS.iter().map(|&(name, how)| (TextField::Label(name), how));
    for (of, how) in
        [(TextField::Protocol, How::Whole), (TextField::Application, How::Whole)].into_iter().chain(labels)
    {
        for text in of.texts(flow) {
            match how {
                How::Whole | How::Exact => found.push(word(of, &text.to_ascii_lowercase())),
                How::Domain => {
                    let name = text.to_ascii_lowercase();
                    found.push(word(of, &name));
                    found.extend(name.match_indices('.').map(|(at, _)| word(of, &name[at + 1..])));
                }
                How::Words => found.extend(words(text).iter().map(|text| word(of, text))),
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// `server_name=example.com`.
fn word(of: TextField, text: &str) -> String {
    let name = match of {
        TextField::Protocol => "protocol",
        TextField::State => "state",
        TextField::Application => "application",
        TextField::CommunityId => "community_id",
        TextField::Label(name) => name,
    };
    let mut end = text.len().min(WORD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{name}={}", &text[..end])
}

/// Condition that is necessary for an expression if `wide`, and sufficient for it otherwise.
fn of_expression(expression: &SearchExpression, wide: bool) -> Condition {
    let each = |parts: &[SearchExpression]| parts.iter().map(|part| of_expression(part, wide)).collect();
    match expression {
        SearchExpression::Everything => Condition::Everything,
        SearchExpression::All(all) => Condition::All(each(all)),
        SearchExpression::Any(any) => Condition::Any(each(any)),
        SearchExpression::Not(one) => Condition::Not(Box::new(of_expression(one, !wide))),
        SearchExpression::Test(test) => {
            let unknown = if wide { Condition::Everything } else { Condition::Nothing };
            of_test(test, wide).unwrap_or(unknown)
        }
    }
}

/// `None` where the catalog cannot be asked for it.
fn of_test(test: &FieldTest, wide: bool) -> Option<Condition> {
    match test {
        // How a connection stands depends on when the range ends.
        FieldTest::Text { of: TextField::State | TextField::CommunityId, .. } => None,
        FieldTest::Text { of, how, value } => text(*of, *how, value, wide),
        FieldTest::Number { of, from, to } => number(*of, from, to),
        FieldTest::Address { of, from, to } => {
            Some(Condition::Address(usize::from(*of == SearchSide::Server), *from, *to))
        }
    }
}

fn text(of: TextField, how: How, value: &str, wide: bool) -> Option<Condition> {
    let exact = |text: &str| {
        let is_whole = text.len() <= WORD_BYTES_MAX;
        (is_whole || wide).then(|| Condition::Word(word(of, text)))
    };
    match how {
        How::Whole => exact(&value.to_ascii_lowercase()),
        // The words are in lower case.
        How::Exact => wide.then(|| exact(&value.to_ascii_lowercase()))?,
        How::Domain if value.is_empty() => Some(Condition::Nothing),
        How::Domain => exact(&value.to_ascii_lowercase()),
        How::Words => match words(value).as_slice() {
            [] => Some(Condition::Nothing),
            [word] => exact(word),
            // Whether they follow each other is not known.
            words => {
                wide.then(|| words.iter().map(|word| exact(word)).collect::<Option<_>>().map(Condition::All))?
            }
        },
    }
}

fn number(of: NumberField, from: &Bound<u64>, to: &Bound<u64>) -> Option<Condition> {
    let column = match of {
        NumberField::Port(SearchSide::Client) => NumberColumn::ClientPort,
        NumberField::Port(SearchSide::Server) => NumberColumn::ServerPort,
        NumberField::Packets(None) => NumberColumn::Packets,
        NumberField::Bytes(None) => NumberColumn::Bytes,
        NumberField::Vlan => NumberColumn::Vlan,
        NumberField::TunnelId => NumberColumn::TunnelId,
        _ => return None,
    };
    let from = match from {
        Bound::Included(from) => Some(*from),
        Bound::Excluded(from) => from.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let to = match to {
        Bound::Included(to) => Some(*to),
        Bound::Excluded(to) => to.checked_sub(1),
        Bound::Unbounded => Some(u64::MAX),
    };
    Some(from.zip(to).map_or(Condition::Nothing, |(from, to)| Condition::Number(column, from, to)))
}
