//! Parser of searches.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;

use tantivy_query_grammar::{
    Delimiter, Occur, UserInputAst, UserInputBound, UserInputLeaf, UserInputLiteral, parse_query,
    parse_query_lenient,
};

use super::{Expression, How, LABELS, Number, SearchError, Side, Test, Text, as_ipv6};

const NS_PER_SECOND: f64 = 1e9;
/// Labels searched for a word without a field.
const WITHOUT_FIELD: [&str; 4] = ["application", "server_name", "http_host", "dns_question"];
/// Maximum nesting depth of brackets.
const DEPTH_MAX: usize = 32;

/// Type of a field's values, and what they are compared with.
enum Field {
    Text(Text, How),
    Count(Vec<Number>),
    Bytes(Number),
    Time(Number),
    Address(Vec<Side>),
}

pub(super) fn expression(text: &str) -> Result<Expression, SearchError> {
    if text.trim().is_empty() {
        return Ok(Expression::Everything);
    }
    if text.matches('(').count() > DEPTH_MAX {
        return Err(SearchError::NotHere(format!("a search has at most {DEPTH_MAX} brackets")));
    }
    let (_, mended) = parse_query_lenient(text);
    let grammar =
        || SearchError::Grammar { text: text.to_owned(), at: mended.first().map(|error| error.pos) };
    // The strict parser lets a rest fall away that it does not understand; the lenient one tells of it.
    let ast = parse_query(text).map_err(|_| grammar())?;
    if !mended.is_empty() {
        return Err(grammar());
    }
    of_ast(ast)
}

fn of_ast(ast: UserInputAst) -> Result<Expression, SearchError> {
    match ast {
        UserInputAst::Leaf(leaf) => of_leaf(*leaf),
        UserInputAst::Boost(inner, _) => of_ast(*inner),
        UserInputAst::Clause(clauses) => of_clauses(clauses),
    }
}

fn of_clauses(clauses: Vec<(Option<Occur>, UserInputAst)>) -> Result<Expression, SearchError> {
    let (mut all, mut any) = (Vec::new(), Vec::new());
    for (occur, clause) in clauses {
        let clause = of_ast(clause)?;
        match occur {
            Some(Occur::Must) | None => all.push(clause),
            Some(Occur::MustNot) => all.push(Expression::Not(Box::new(clause))),
            Some(Occur::Should) => any.push(clause),
        }
    }
    Ok(match (all.is_empty(), any.is_empty()) {
        (true, true) => Expression::Everything,
        (true, false) => Expression::Any(any),
        // Beside what must be, what may be changes only the order of a ranking.
        (false, _) => Expression::All(all),
    })
}

fn of_leaf(leaf: UserInputLeaf) -> Result<Expression, SearchError> {
    match leaf {
        UserInputLeaf::All => Ok(Expression::Everything),
        UserInputLeaf::Literal(literal) if is_pattern(&literal) => {
            let value = literal.phrase;
            Err(SearchError::NotHere(format!(
                "{value:?}: a value stands for itself; patterns with * and ~ are not understood, and a value that has such a \
                 sign stands in quotes"
            )))
        }
        UserInputLeaf::Literal(UserInputLiteral { field_name: Some(name), phrase, .. }) => {
            value(&name, &phrase)
        }
        UserInputLeaf::Literal(UserInputLiteral { field_name: None, phrase, .. }) => without_field(&phrase),
        UserInputLeaf::Range { field: Some(name), lower, upper } => range(&name, &lower, &upper),
        UserInputLeaf::Set { field: Some(name), elements } => elements
            .iter()
            .map(|element| value(&name, element))
            .collect::<Result<_, _>>()
            .map(Expression::Any),
        UserInputLeaf::Range { field: None, .. } | UserInputLeaf::Set { field: None, .. } => {
            Err(SearchError::NotHere("a range or a set needs a field: bytes:[1000 TO 2000]".to_owned()))
        }
        UserInputLeaf::Exists { field } => Err(SearchError::NotHere(format!("{field}:* is not understood"))),
        UserInputLeaf::Regex { pattern, .. } => Err(SearchError::NotHere(format!(
            "/{pattern}/: regular expressions are not understood, and an address with a slash stands in quotes"
        ))),
    }
}

/// Patterns would be taken for values, and find nothing.
fn is_pattern(literal: &UserInputLiteral) -> bool {
    let is_bare = literal.delimiter == Delimiter::None;
    literal.prefix || literal.slop > 0 || is_bare && literal.phrase.contains(['*', '~'])
}

/// An address is a host; anything else is looked for among the names.
fn without_field(phrase: &str) -> Result<Expression, SearchError> {
    if subnet(phrase).is_some() {
        return value("host", phrase);
    }
    WITHOUT_FIELD.iter().map(|field| value(field, phrase)).collect::<Result<_, _>>().map(Expression::Any)
}

fn field(name: &str) -> Result<Field, SearchError> {
    use Side::{Client, Server};
    Ok(match name {
        "host" | "ip" => Field::Address(vec![Client, Server]),
        "client" => Field::Address(vec![Client]),
        "server" => Field::Address(vec![Server]),
        "port" => Field::Count(vec![Number::Port(Client), Number::Port(Server)]),
        "client_port" => Field::Count(vec![Number::Port(Client)]),
        "server_port" => Field::Count(vec![Number::Port(Server)]),
        "protocol" | "proto" => Field::Text(Text::Protocol, How::Whole),
        "packets" => Field::Count(vec![Number::Packets(None)]),
        "client_packets" => Field::Count(vec![Number::Packets(Some(Client))]),
        "server_packets" => Field::Count(vec![Number::Packets(Some(Server))]),
        "bytes" => Field::Bytes(Number::Bytes(None)),
        "client_bytes" => Field::Bytes(Number::Bytes(Some(Client))),
        "server_bytes" => Field::Bytes(Number::Bytes(Some(Server))),
        "duration" => Field::Time(Number::DurationNs),
        "rtt" => Field::Time(Number::RttNs),
        "retransmissions" => Field::Count(vec![Number::Retransmissions]),
        "out_of_order" => Field::Count(vec![Number::OutOfOrder]),
        "state" => Field::Text(Text::State, How::Whole),
        "vlan" => Field::Count(vec![Number::Vlan]),
        "tunnel" | "vni" => Field::Count(vec![Number::TunnelId]),
        "application" | "app" => Field::Text(Text::Application, How::Whole),
        "community_id" => Field::Text(Text::CommunityId, How::Whole),
        "sni" => label("server_name")?,
        "ua" => label("http_user_agent")?,
        "dns" => label("dns_question")?,
        "ssh" => label("ssh_banner")?,
        other => label(other)?,
    })
}

fn label(name: &str) -> Result<Field, SearchError> {
    let found = LABELS.iter().find(|(known, _)| *known == name);
    let (known, how) = found.ok_or_else(|| SearchError::Field(name.to_owned()))?;
    Ok(Field::Text(Text::Label(known), *how))
}

/// `field:value`.
fn value(name: &str, value: &str) -> Result<Expression, SearchError> {
    match field(name)? {
        Field::Text(of, how) => Ok(Expression::Test(Test::Text { of, how, value: value.to_owned() })),
        Field::Address(sides) => {
            let (from, to) = subnet(value).ok_or_else(|| wrong(name, value, "address or subnet"))?;
            Ok(any_address(&sides, from, to))
        }
        other => {
            let number = number(name, &other, value)?;
            Ok(any_number(&other, Bound::Included(number), Bound::Included(number)))
        }
    }
}

/// `field:[a TO b]`, `field:>a`.
fn range(name: &str, lower: &UserInputBound, upper: &UserInputBound) -> Result<Expression, SearchError> {
    match field(name)? {
        Field::Text(..) => Err(SearchError::NotHere(format!("{name} holds words, which have no ranges"))),
        Field::Address(sides) => {
            let one = |bound: &UserInputBound, open: u128| match bound {
                UserInputBound::Unbounded => Ok(Ipv6Addr::from(open)),
                UserInputBound::Inclusive(text) | UserInputBound::Exclusive(text) => {
                    text.parse().map(as_ipv6).map_err(|_| wrong(name, text, "address"))
                }
            };
            Ok(any_address(&sides, one(lower, 0)?, one(upper, u128::MAX)?))
        }
        other => {
            let bound = |bound: &UserInputBound| match bound {
                UserInputBound::Unbounded => Ok(Bound::Unbounded),
                UserInputBound::Inclusive(text) => number(name, &other, text).map(Bound::Included),
                UserInputBound::Exclusive(text) => number(name, &other, text).map(Bound::Excluded),
            };
            let (from, to) = (bound(lower)?, bound(upper)?);
            Ok(any_number(&other, from, to))
        }
    }
}

fn wrong(field: &str, value: &str, expected: &'static str) -> SearchError {
    SearchError::Value { field: field.to_owned(), value: value.to_owned(), expected }
}

fn any_address(sides: &[Side], from: Ipv6Addr, to: Ipv6Addr) -> Expression {
    Expression::Any(sides.iter().map(|&of| Expression::Test(Test::Address { of, from, to })).collect())
}

fn any_number(field: &Field, from: Bound<u64>, to: Bound<u64>) -> Expression {
    let test = |&of: &Number| Expression::Test(Test::Number { of, from, to });
    match field {
        Field::Count(numbers) => Expression::Any(numbers.iter().map(test).collect()),
        Field::Bytes(number) | Field::Time(number) => test(number),
        Field::Text(..) | Field::Address(_) => Expression::Any(Vec::new()),
    }
}

fn number(name: &str, field: &Field, text: &str) -> Result<u64, SearchError> {
    let (read, expected) = match field {
        Field::Bytes(_) => (bytes(text), "number of bytes (1500, 20k, 3M, 1GiB)"),
        Field::Time(_) => (nanoseconds(text), "time (90, 1.5s, 20ms, 5min)"),
        _ => (text.parse().ok(), "whole number"),
    };
    read.ok_or_else(|| wrong(name, text, expected))
}

/// A number and its unit.
fn with_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = with_unit(text)?;
    let power = |base: f64, exponent| base.powi(exponent);
    let factor = match unit.trim_end_matches('B') {
        "" => 1.0,
        "k" | "K" => power(1e3, 1),
        "M" => power(1e3, 2),
        "G" => power(1e3, 3),
        "T" => power(1e3, 4),
        "Ki" | "ki" => power(1024.0, 1),
        "Mi" => power(1024.0, 2),
        "Gi" => power(1024.0, 3),
        "Ti" => power(1024.0, 4),
        _ => return None,
    };
    Some(whole(number * factor))
}

fn nanoseconds(text: &str) -> Option<u64> {
    let (number, unit) = with_unit(text)?;
    let seconds = match unit {
        "" | "s" => 1.0,
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(whole(number * seconds * NS_PER_SECOND))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and what is too large is the largest"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// The first and last address of `10.1.0.0/16`, or of `10.0.0.5`.
fn subnet(text: &str) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
    let host_bits = bits.checked_sub(prefix.unwrap_or(bits))?;
    let mask = 1u128.checked_shl(host_bits).map_or(u128::MAX, |above| above - 1);
    let number = u128::from(as_ipv6(address));
    Some((Ipv6Addr::from(number & !mask), Ipv6Addr::from(number | mask)))
}
