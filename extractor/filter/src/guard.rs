//! Keeps expressions away from libpcap that would make it look a name up.
//!
//! In an expression a name stands for a host (DNS), a network (networks database, perhaps DNS), an Ethernet address (ethers
//! database), a gateway (both), or else for a service or a protocol, which are local tables. What it stands for follows from
//! the qualifiers before it, which alternatives inherit: in `port 80 or http` the name is a port, in
//! `host 10.0.0.1 or (port 80) or http` it is a host, because parentheses give back what was before them. The rules here
//! are those of libpcap's grammar (`grammar.y`); where an expression breaks them, libpcap stops at the same place.

use super::error::FilterError;
use super::lexer::{FilterToken, TokenKind, tokens};

/// Meaning of a name after the qualifiers so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    /// A local table: services, protocols.
    Local,
    /// A name that libpcap would look up elsewhere, or a mistake.
    Foreign,
}

/// Words that are followed by a name of their own, from a list inside libpcap.
const NAMING_WORDS: [&str; 11] =
    ["type", "subtype", "dir", "direction", "llc", "on", "ifname", "rset", "ruleset", "reason", "action"];

/// Refuses an expression with a name that would be looked up, or with a character that the language does not have (a NUL
/// byte among them). Gives the number of tokens.
pub(super) fn check(expression: &str) -> Result<usize, FilterError> {
    let tokens = tokens(expression);
    match first_refused(expression, &tokens) {
        None => Ok(tokens.len()),
        Some(FilterToken { kind: TokenKind::Name, span }) => {
            Err(FilterError::Name { expression: expression.to_owned(), span: span.clone(), remedy: None })
        }
        Some(FilterToken { span, .. }) => Err(FilterError::Syntax {
            expression: expression.to_owned(),
            span: span.clone(),
            message: format!("`{}` has no meaning in a filter", expression[span.clone()].escape_debug()),
        }),
    }
}

fn first_refused<'a>(expression: &str, tokens: &'a [FilterToken]) -> Option<&'a FilterToken> {
    let mut sense = Sense::Foreign;
    let mut outside = Vec::new();
    let mut previous = "";
    for token in tokens {
        let text = &expression[token.span.clone()];
        match (token.kind, text) {
            (TokenKind::Name, _) if sense == Sense::Foreign && !NAMING_WORDS.contains(&previous) => {
                return Some(token);
            }
            (TokenKind::Invalid, _) => return Some(token),
            (TokenKind::Sign, "(") => outside.push(sense),
            (TokenKind::Sign, ")") => sense = outside.pop().unwrap_or(Sense::Foreign),
            (TokenKind::Keyword, "port" | "portrange" | "proto" | "protochain") => sense = Sense::Local,
            // These leave the qualifiers as they are.
            (TokenKind::Keyword, "and" | "or" | "not" | "mask")
            | (TokenKind::Sign, "&&" | "||" | "!" | "/") => {}
            (TokenKind::Keyword | TokenKind::Sign, _) => sense = Sense::Foreign,
            _ => {}
        }
        previous = text;
    }
    None
}
