//! Translates conditions into tantivy queries.

use std::net::Ipv6Addr;
use std::ops::Bound;

use netrewind_catalog::condition::Condition;
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, Query, RangeQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption};

use crate::schema::{SchemaFields, TIME_UNIT_NS};

/// Time range of wanted records, in nanoseconds since the epoch: those of which any instant is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The earliest instant in it.
    pub from_ns: u64,
    /// The last instant in it.
    pub last_ns: u64,
}

impl Range {
    /// All of time.
    pub const EVERYTHING: Self = Self { from_ns: 0, last_ns: u64::MAX };
}

type BoxedQuery = Box<dyn Query>;

/// The records that fulfil the condition and meet the range, as far as rounded times tell, and all that are open.
pub(crate) fn search(condition: &Condition, range: Range, fields: &SchemaFields) -> BoxedQuery {
    let mut all = vec![(Occur::Must, of_condition(condition, fields))];
    if range.last_ns < u64::MAX {
        all.push((Occur::Must, number(fields.first, 0, range.last_ns / TIME_UNIT_NS)));
    }
    let found: BoxedQuery = Box::new(BooleanQuery::new(all));
    Box::new(BooleanQuery::new(vec![(Occur::Should, found), (Occur::Should, number(fields.open, 1, 1))]))
}

fn of_condition(condition: &Condition, fields: &SchemaFields) -> BoxedQuery {
    match condition {
        Condition::All(all) => all_of(all.iter().map(|one| of_condition(one, fields))),
        Condition::Any(any) => any_of(any.iter().map(|one| of_condition(one, fields))),
        Condition::Not(one) => not(one, fields),
        Condition::Everything => Box::new(AllQuery),
        Condition::Nothing => Box::new(EmptyQuery),
        Condition::Number(column, from, to) => number(fields.number(*column), *from, *to),
        Condition::Address(end, from, to) => address(fields.addresses[end & 1], *from, *to),
        Condition::Word(word) => {
            Box::new(TermQuery::new(Term::from_field_text(fields.words, word), IndexRecordOption::Basic))
        }
    }
}

/// Negation of a condition. Only single conditions are excluded: tantivy asks an excluded query for documents in any order, and
/// its intersections are not made for that.
fn not(condition: &Condition, fields: &SchemaFields) -> BoxedQuery {
    match condition {
        Condition::All(all) => any_of(all.iter().map(|one| not(one, fields))),
        Condition::Any(any) => all_of(any.iter().map(|one| not(one, fields))),
        Condition::Not(one) => of_condition(one, fields),
        single => Box::new(BooleanQuery::new(vec![
            (Occur::Must, Box::new(AllQuery)),
            (Occur::MustNot, of_condition(single, fields)),
        ])),
    }
}

fn all_of(parts: impl Iterator<Item = BoxedQuery>) -> BoxedQuery {
    // Of none it would find nothing.
    let everything: BoxedQuery = Box::new(AllQuery);
    Box::new(BooleanQuery::new(parts.chain([everything]).map(|part| (Occur::Must, part)).collect()))
}

fn any_of(parts: impl Iterator<Item = BoxedQuery>) -> BoxedQuery {
    Box::new(BooleanQuery::new(parts.map(|part| (Occur::Should, part)).collect()))
}

fn number(field: Field, from: u64, to: u64) -> BoxedQuery {
    if from > to {
        return Box::new(EmptyQuery);
    }
    let bound = |number| Bound::Included(Term::from_field_u64(field, number));
    Box::new(RangeQuery::new(bound(from), bound(to)))
}

fn address(field: Field, from: Ipv6Addr, to: Ipv6Addr) -> BoxedQuery {
    if from > to {
        return Box::new(EmptyQuery);
    }
    let bound = |address| Bound::Included(Term::from_field_ip_addr(field, address));
    Box::new(RangeQuery::new(bound(from), bound(to)))
}
