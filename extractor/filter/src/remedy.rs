//! Suggestions for refused expressions: Wireshark's display filters, capital letters, mistyped words.
//!
//! **Invariant:** a remedy that rewrites the expression has been compiled, so it is never refused in turn.

mod display;
mod words;

use std::ops::Range;

use netrewind_store::LinkType;

use super::error::{FilterError, printable};
use super::guard;
use super::lexer::{FilterToken, TokenKind, is_word_of_the_language, tokens};
use super::target::{CompileTarget, Optimize};

/// Larger expressions get no remedy: each attempt compiles them.
const REMEDIED_TOKENS_MAX: usize = 64;
/// Rewritten expressions that are tried at most.
const TRIES_MAX: usize = 12;

/// The error with a suggestion of text to write instead, if there is one.
pub(super) fn with_remedy(error: FilterError, link_type: LinkType) -> FilterError {
    match error {
        FilterError::Name { expression, span, remedy: None } => {
            let remedy =
                remedy(&expression, &span, link_type).map(|text| printable(&text).into_iter().collect());
            FilterError::Name { expression, span, remedy }
        }
        FilterError::Syntax { expression, span, message } => {
            let message = match remedy(&expression, &span, link_type) {
                Some(text) => format!("{message}: {}", printable(&text).into_iter().collect::<String>()),
                None => message,
            };
            FilterError::Syntax { expression, span, message }
        }
        other => other,
    }
}

/// Advice, as the end of a sentence that has named the position; `None` if there is none.
fn remedy(expression: &str, blamed: &Range<usize>, link_type: LinkType) -> Option<String> {
    let tokens = tokens(expression);
    if tokens.len() > REMEDIED_TOKENS_MAX {
        return None;
    }
    let case = RemedyCase { expression, blamed, tokens: &tokens, link_type };
    case.in_small_letters()
        .or_else(|| case.beside_the_filter())
        .or_else(|| case.of_wireshark())
        .or_else(|| case.of_an_application())
        .or_else(|| case.rewritten())
}

struct RemedyCase<'a> {
    expression: &'a str,
    blamed: &'a Range<usize>,
    tokens: &'a [FilterToken],
    link_type: LinkType,
}

impl RemedyCase<'_> {
    fn compiles(&self, expression: &str) -> bool {
        guard::check(expression).is_ok()
            && CompileTarget::File(self.link_type).compile(expression, Optimize::Yes).is_ok()
    }

    fn text(&self, token: &FilterToken) -> &str {
        &self.expression[token.span.clone()]
    }

    /// The token that is to blame, if it is one.
    fn blamed_token(&self) -> Option<usize> {
        self.tokens.iter().position(|token| token.span == *self.blamed)
    }

    fn blamed_text(&self) -> &str {
        self.expression.get(self.blamed.clone()).unwrap_or_default()
    }

    /// The expression with another text in place of some of its bytes.
    fn with(&self, span: &Range<usize>, text: &str) -> String {
        format!("{}{text}{}", &self.expression[..span.start], &self.expression[span.end..])
    }

    /// `TCP port 80 AND host ...`.
    fn in_small_letters(&self) -> Option<String> {
        let mut small = self.expression.to_owned();
        for token in self.tokens.iter().filter(|token| token.kind == TokenKind::Name) {
            let lower = self.text(token).to_ascii_lowercase();
            if is_word_of_the_language(&lower) {
                small.replace_range(token.span.clone(), &lower);
            }
        }
        (small != self.expression && self.compiles(&small))
            .then(|| format!("keywords are written in small letters (lower case): `{small}`"))
    }

    /// `vxlan 5`: tunnels are selected by separate parameters.
    fn beside_the_filter(&self) -> Option<String> {
        let at = self.blamed_token()?;
        let word = self.blamed_text().to_ascii_lowercase();
        let (_, flag, outer) = words::TUNNELS.iter().find(|(name, ..)| *name == word)?;
        let number = self.tokens.get(at + 1).filter(|token| token.kind == TokenKind::Number);
        let (Some(number), Some(flag)) = (number, flag) else {
            let whole = self.with(self.blamed, outer);
            return self.compiles(&whole).then(|| {
                format!(
                    "packets in tunnels are selected by options next to the filter ({}); the tunnel's own packets match `{whole}` with --view outer (view=outer)",
                    flag.map_or_else(|| "--tunnel-peer, tunnel_peer=".to_owned(), |flag| written(flag, "N"))
                )
            });
        };
        let written = written(flag, self.text(number));
        // The part joined to it by `and` stays as the filter.
        let joined = |index: usize| {
            self.tokens.get(index).is_some_and(|token| ["and", "&&"].contains(&self.text(token)))
        };
        let rest = if at == 0 && joined(2) {
            self.expression[self.tokens[2].span.end..].trim()
        } else if at + 2 == self.tokens.len() && at >= 1 && joined(at - 1) {
            self.expression[..self.tokens[at - 1].span.start].trim()
        } else if self.tokens.len() == 2 {
            return Some(format!(
                "packets in tunnels are selected by an option next to the filter: leave this out and use {written}"
            ));
        } else {
            ""
        };
        Some(match !rest.is_empty() && self.compiles(rest) {
            true => format!(
                "packets in tunnels are selected by an option next to the filter: use {written} and the filter `{rest}`"
            ),
            false => format!(
                "packets in tunnels are selected by an option next to the filter: use {written} instead"
            ),
        })
    }

    /// `tcp.port == 80`: a display filter.
    fn of_wireshark(&self) -> Option<String> {
        if let Some(translated) = display::translated(self.expression)
            && self.compiles(&translated)
        {
            return Some(format!("that is a Wireshark display filter; the capture filter is `{translated}`"));
        }
        let field = self.blamed_text();
        let protocol = display::protocol_of_field(field)?;
        let search = display::search_of_field(field).map_or_else(String::new, |search| {
            format!(", or find conversations with netrewind flows --query {search}")
        });
        Some(format!(
            "that is a field of Wireshark's display filters, which capture filters do not have: use `{protocol}` and filter the answer in Wireshark{search}"
        ))
    }

    /// `http`: applications are not keywords of the language.
    fn of_an_application(&self) -> Option<String> {
        let filter_of =
            |text: &str| words::APPLICATIONS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        let (word, _) = filter_of(self.blamed_text())?;
        let mut whole = self.expression.to_owned();
        for token in self.tokens.iter().rev().filter(|token| token.kind == TokenKind::Name) {
            if let Some((_, filter)) = filter_of(self.text(token)) {
                let is_alone = self.tokens.len() == 1;
                let filter = if is_alone { (*filter).to_owned() } else { grouped(filter) };
                whole.replace_range(token.span.clone(), &filter);
            }
        }
        self.compiles(&whole).then(|| {
            let app = words::LABELLED
                .contains(word)
                .then(|| format!(", or find its conversations with netrewind flows --query app:{word}"));
            format!(
                "a capture filter matches ports, not applications: use `{whole}`{}",
                app.unwrap_or_default()
            )
        })
    }

    /// The first of the rewritten expressions that has a meaning.
    fn rewritten(&self) -> Option<String> {
        let spaced = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found =
            self.rewritings().into_iter().take(TRIES_MAX).map(spaced).find(|text| self.compiles(text))?;
        Some(format!("did you mean `{found}`?"))
    }

    fn rewritings(&self) -> Vec<String> {
        let mut rewritings = Vec::new();
        let blamed = self.blamed_text();
        let Some(at) = self.blamed_token() else { return rewritings };
        rewritings.extend(words::alike(blamed).into_iter().map(|word| self.with(self.blamed, word)));
        let before = |word: &str| self.with(self.blamed, &format!("{word} {blamed}"));
        match self.tokens[at].kind {
            TokenKind::Invalid if blamed == "," => {
                rewritings.push(self.expression.replace(',', " or "));
            }
            TokenKind::Invalid if ["'", "\"", ";", "`"].contains(&blamed) => {
                rewritings.push(self.expression.replace(blamed, " ").trim().to_owned());
            }
            TokenKind::Number if at >= 2 && self.text(&self.tokens[at - 1]) == "/" => {
                rewritings.extend(self.of_an_address(at - 2));
            }
            TokenKind::Number => rewritings.extend(["port", "or"].map(before)),
            TokenKind::Address => rewritings.extend(self.of_an_address(at)),
            TokenKind::Keyword => rewritings.push(before("and")),
            TokenKind::Sign => rewritings.extend(match blamed {
                "=" | "==" | ":" => vec![self.with(self.blamed, " ")],
                "&" => vec![self.with(self.blamed, "and")],
                "|" => vec![self.with(self.blamed, "or")],
                "(" => vec![before("and")],
                _ => Vec::new(),
            }),
            _ => {}
        }
        rewritings.extend(self.of_a_socket(at).into_iter().flatten());
        rewritings
    }

    /// `10.0.0.1:80`: the error is at the colon or the address before it.
    fn of_a_socket(&self, at: usize) -> Option<[String; 2]> {
        let is_colon = |index: &usize| self.tokens.get(*index).is_some_and(|token| self.text(token) == ":");
        let colon = [at, at + 1].into_iter().find(is_colon)?;
        let (address, port) = (self.tokens.get(colon.checked_sub(1)?)?, self.tokens.get(colon + 1)?);
        let joined = format!("{} and port {}", self.text(address), self.text(port));
        let whole = address.span.start..port.span.end;
        Some([self.with(&whole, &joined), self.with(&whole, &format!("host {joined}"))])
    }

    /// An address that needs a qualifier, or has a network mask.
    fn of_an_address(&self, at: usize) -> Vec<String> {
        let FilterToken { span, .. } = &self.tokens[at];
        let text = &self.expression[span.clone()];
        let mut rewritings: Vec<String> =
            ["host", "or", "and host"].map(|word| self.with(span, &format!("{word} {text}"))).into();
        let masked = self.tokens.get(at + 1).filter(|token| self.text(token) == "/");
        let bits = masked.and(self.tokens.get(at + 2)).filter(|token| token.kind == TokenKind::Number);
        if let Some(bits) = bits {
            let network = display::network(text, self.text(bits));
            let whole = span.start..bits.span.end;
            rewritings.extend(network.iter().map(|network| self.with(&whole, network)));
            // With the word before it, where that is for hosts.
            if let Some(word) =
                at.checked_sub(1).map(|before| &self.tokens[before]).filter(|t| self.text(t) == "host")
                && let Some(network) = network
            {
                rewritings.push(self.with(&(word.span.start..bits.span.end), &format!("net {network}")));
            }
        }
        rewritings
    }
}

/// `--vni 5 (vni=5 over HTTP)`.
fn written(flag: &str, value: &str) -> String {
    format!("--{flag} {value} ({}={value} over HTTP)", flag.replace('-', "_"))
}

/// Puts a filter in parentheses if it has several words that could be torn apart.
fn grouped(filter: &str) -> String {
    if filter.contains(" or ") || filter.contains(" and ") {
        format!("({filter})")
    } else {
        filter.to_owned()
    }
}
