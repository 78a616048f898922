//! Parser of searches.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;
use std::str::FromStr;

use tantivy_query_grammar::{
    Delimiter, Occur, UserInputAst, UserInputBound, UserInputLeaf, UserInputLiteral, parse_query,
    parse_query_lenient,
};

use super::{
    FieldTest, How, LABELS, NumberField, SEARCH_BYTES_MAX, Search, SearchError, SearchExpression, SearchSide,
    TextField, as_ipv6,
};

const NS_PER_SECOND: f64 = 1e9;
/// Labels searched for a word without a field.
const WITHOUT_FIELD: [&str; 4] = ["application", "server_name", "http_host", "dns_question"];
/// Maximum nesting depth of brackets.
const DEPTH_MAX: usize = 32;

/// Type of a field's values, and what they are compared with.
enum FieldType {
    Text(TextField, How),
    Count(Vec<NumberField>),
    Bytes(NumberField),
    Time(NumberField),
    Address(Vec<SearchSide>),
}

impl FromStr for Search {
    type Err = SearchError;
    fn from_str(text: &str) -> Result<Self, SearchError> {
        if text.len() > SEARCH_BYTES_MAX {
            return Err(SearchError::TooLong);
        }
        expression(text).map(Self)
    }
}

fn expression(text: &str) -> Result<SearchExpression, SearchError> {
    if text.trim().is_empty() {
        return Ok(SearchExpression::Everything);
    }
    if text.matches('(').count() > DEPTH_MAX {
        return Err(SearchError::NotHere(format!("a search has at most {DEPTH_MAX} brackets")));
    }
    let (_, mended) = parse_query_lenient(text);
    let grammar =
        || SearchError::Grammar { text: text.to_owned(), at: mended.first().map(|error| error.pos) };
    // The strict parser drops a remainder that it does not understand; the lenient one reports it.
    let ast = parse_query(text).map_err(|_| grammar())?;
    if !mended.is_empty() {
        return Err(grammar());
    }
    of_ast(ast)
}

fn of_ast(ast: UserInputAst) -> Result<SearchExpression, SearchError> {
    match ast {
        UserInputAst::Leaf(leaf) => of_leaf(*leaf),
        UserInputAst::Boost(inner, _) => of_ast(*inner),
        UserInputAst::Clause(clauses) => of_clauses(clauses),
    }
}

fn of_clauses(clauses: Vec<(Option<Occur>, UserInputAst)>) -> Result<SearchExpression, SearchError> {
    let (mut all, mut any) = (Vec::new(), Vec::new());
    for (occur, clause) in clauses {
        let clause = of_ast(clause)?;
        match occur {
            Some(Occur::Must) | None => all.push(clause),
            Some(Occur::MustNot) => all.push(SearchExpression::Not(Box::new(clause))),
            Some(Occur::Should) => any.push(clause),
        }
    }
    Ok(match (all.is_empty(), any.is_empty()) {
        (true, true) => SearchExpression::Everything,
        (true, false) => SearchExpression::Any(any),
        // Optional clauses beside required ones only change the order of a ranking.
        (false, _) => SearchExpression::All(all),
    })
}

fn of_leaf(leaf: UserInputLeaf) -> Result<SearchExpression, SearchError> {
    match leaf {
        UserInputLeaf::All => Ok(SearchExpression::Everything),
        UserInputLeaf::Literal(literal) if is_pattern(&literal) => {
            let value = literal.phrase;
            Err(SearchError::NotHere(format!(
                "{value:?}: patterns with * and ~ are not supported; put a value that has such a character in quotes"
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
            .map(SearchExpression::Any),
        UserInputLeaf::Range { field: None, .. } | UserInputLeaf::Set { field: None, .. } => {
            Err(SearchError::NotHere("a range or a set needs a field: bytes:[1000 TO 2000]".to_owned()))
        }
        UserInputLeaf::Exists { field } => Err(SearchError::NotHere(format!("{field}:* is not supported"))),
        UserInputLeaf::Regex { pattern, .. } => Err(SearchError::NotHere(format!(
            "/{pattern}/: regular expressions are not supported; put an address with a slash in quotes"
        ))),
    }
}

/// Patterns would be taken for values, and find nothing.
fn is_pattern(literal: &UserInputLiteral) -> bool {
    let is_bare = literal.delimiter == Delimiter::None;
    literal.prefix || literal.slop > 0 || is_bare && literal.phrase.contains(['*', '~'])
}

/// An address is a host; anything else is searched among the names.
fn without_field(phrase: &str) -> Result<SearchExpression, SearchError> {
    if subnet(phrase).is_some() {
        return value("host", phrase);
    }
    WITHOUT_FIELD
        .iter()
        .map(|field| value(field, phrase))
        .collect::<Result<_, _>>()
        .map(SearchExpression::Any)
}

fn field(name: &str) -> Result<FieldType, SearchError> {
    use SearchSide::{Client, Server};
    Ok(match name {
        "host" | "ip" => FieldType::Address(vec![Client, Server]),
        "client" => FieldType::Address(vec![Client]),
        "server" => FieldType::Address(vec![Server]),
        "port" => FieldType::Count(vec![NumberField::Port(Client), NumberField::Port(Server)]),
        "client_port" => FieldType::Count(vec![NumberField::Port(Client)]),
        "server_port" => FieldType::Count(vec![NumberField::Port(Server)]),
        "protocol" | "proto" => FieldType::Text(TextField::Protocol, How::Whole),
        "packets" => FieldType::Count(vec![NumberField::Packets(None)]),
        "client_packets" => FieldType::Count(vec![NumberField::Packets(Some(Client))]),
        "server_packets" => FieldType::Count(vec![NumberField::Packets(Some(Server))]),
        "bytes" => FieldType::Bytes(NumberField::Bytes(None)),
        "client_bytes" => FieldType::Bytes(NumberField::Bytes(Some(Client))),
        "server_bytes" => FieldType::Bytes(NumberField::Bytes(Some(Server))),
        "duration" => FieldType::Time(NumberField::DurationNs),
        "rtt" => FieldType::Time(NumberField::RttNs),
        "retransmissions" => FieldType::Count(vec![NumberField::Retransmissions]),
        "out_of_order" => FieldType::Count(vec![NumberField::OutOfOrder]),
        "state" => FieldType::Text(TextField::State, How::Whole),
        "vlan" => FieldType::Count(vec![NumberField::Vlan]),
        "tunnel" | "vni" => FieldType::Count(vec![NumberField::TunnelId]),
        "application" | "app" => FieldType::Text(TextField::Application, How::Whole),
        "community_id" => FieldType::Text(TextField::CommunityId, How::Exact),
        "sni" => label("server_name")?,
        "ua" => label("http_user_agent")?,
        "dns" => label("dns_question")?,
        "ssh" => label("ssh_banner")?,
        other => label(other)?,
    })
}

fn label(name: &str) -> Result<FieldType, SearchError> {
    let found = LABELS.iter().find(|(known, _)| *known == name);
    let (known, how) = found.ok_or_else(|| SearchError::Field(name.to_owned()))?;
    Ok(FieldType::Text(TextField::Label(known), *how))
}

/// `field:value`.
fn value(name: &str, value: &str) -> Result<SearchExpression, SearchError> {
    match field(name)? {
        FieldType::Text(of, how) => {
            Ok(SearchExpression::Test(FieldTest::Text { of, how, value: value.to_owned() }))
        }
        FieldType::Address(sides) => {
            let (from, to) = subnet(value).ok_or_else(|| wrong(name, value, "an address or subnet"))?;
            Ok(any_address(&sides, from, to))
        }
        other => {
            let number = number(name, &other, value)?;
            Ok(any_number(&other, Bound::Included(number), Bound::Included(number)))
        }
    }
}

/// `field:[a TO b]`, `field:>a`.
fn range(
    name: &str,
    lower: &UserInputBound,
    upper: &UserInputBound,
) -> Result<SearchExpression, SearchError> {
    match field(name)? {
        FieldType::Text(..) => Err(SearchError::NotHere(format!("{name} holds text, which has no ranges"))),
        FieldType::Address(sides) => {
            let one = |bound: &UserInputBound, open: u128| match bound {
                UserInputBound::Unbounded => Ok(Ipv6Addr::from(open)),
                UserInputBound::Inclusive(text) | UserInputBound::Exclusive(text) => {
                    text.parse().map(as_ipv6).map_err(|_| wrong(name, text, "an address"))
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

fn any_address(sides: &[SearchSide], from: Ipv6Addr, to: Ipv6Addr) -> SearchExpression {
    SearchExpression::Any(
        sides.iter().map(|&of| SearchExpression::Test(FieldTest::Address { of, from, to })).collect(),
    )
}

fn any_number(field: &FieldType, from: Bound<u64>, to: Bound<u64>) -> SearchExpression {
    let test = |&of: &NumberField| SearchExpression::Test(FieldTest::Number { of, from, to });
    match field {
        FieldType::Count(numbers) => SearchExpression::Any(numbers.iter().map(test).collect()),
        FieldType::Bytes(number) | FieldType::Time(number) => test(number),
        FieldType::Text(..) | FieldType::Address(_) => SearchExpression::Any(Vec::new()),
    }
}

fn number(name: &str, field: &FieldType, text: &str) -> Result<u64, SearchError> {
    let (read, expected) = match field {
        FieldType::Bytes(_) => (bytes(text), "a number of bytes (1500, 20k, 3M, 1GiB)"),
        FieldType::Time(_) => (nanoseconds(text), "a time (90, 1.5s, 20ms, 5min)"),
        _ => (text.parse().ok(), "a whole number"),
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
