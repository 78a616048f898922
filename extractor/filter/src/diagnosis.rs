//! Compiles in this process, and finds the position of an error in an expression. libpcap reports the error but not its
//! position, so it is run on beginnings of the expression.

use std::ops::Range;

use super::error::FilterError;
use super::guard;
use super::instruction::RawInstruction;
use super::lexer::{FilterToken, tokens};
use super::remedy::with_remedy;
use super::target::{CompileTarget, NO_HANDLE, Optimize};

/// In longer expressions the whole is marked, because every attempt compiles a part of them.
const DIAGNOSED_TOKENS_MAX: usize = 512;

/// Continuations that are possible in the middle of an expression: one of them makes any beginning that is right so far
/// compile, or fail for a reason other than its syntax.
const COMPLETIONS: [&str; 11] = [
    "",
    " 1",
    " 1.2.3.4",
    " host 1.2.3.4",
    " tcp",
    " = 1",
    " port 1",
    " ::1",
    " 1:1:1:1:1:1",
    " mgt",
    " subtype beacon",
];

/// A comparison may be missing behind the parentheses that are closed.
const ENDINGS: [&str; 2] = ["", " = 1"];

/// libpcap's words for an expression that it finds to accept nothing.
const REJECTS_ALL: &str = "expression rejects all packets";

/// Message of libpcap's parser for input that it does not understand.
const SYNTAX_ERROR: &str = "syntax error";

/// Compiles in this process, without limits; the names must have been checked.
pub(super) fn compile_checked<'a>(
    expression: &str,
    target: impl Into<CompileTarget<'a>>,
    optimize: Optimize,
) -> Result<Vec<RawInstruction>, FilterError> {
    let target = target.into();
    target.compile(expression, optimize).map_err(|message| match message.strip_prefix(NO_HANDLE) {
        Some(reason) => FilterError::NoHandle { reason: reason.to_owned() },
        None if message == REJECTS_ALL => FilterError::RejectsAll { expression: expression.to_owned() },
        None => diagnose(expression, target, &message),
    })
}

/// The error with its position, from libpcap's message on the whole expression.
fn diagnose(expression: &str, target: CompileTarget<'_>, message: &str) -> FilterError {
    let tokens = tokens(expression);
    let case = DiagnosisCase { expression, target: target.for_errors(), tokens: &tokens };
    let (span, message) = match () {
        () if tokens.len() > DIAGNOSED_TOKENS_MAX => (0..expression.len(), message.to_owned()),
        () if message.contains(SYNTAX_ERROR) => case.syntax_error(),
        () => (case.place_of(message), message.to_owned()),
    };
    let error = FilterError::Syntax { expression: expression.to_owned(), span, message };
    with_remedy(error, target.link_type())
}

struct DiagnosisCase<'a> {
    expression: &'a str,
    target: CompileTarget<'a>,
    tokens: &'a [FilterToken],
}

impl DiagnosisCase<'_> {
    /// The last token of the shortest beginning that nothing can complete.
    fn syntax_error(&self) -> (Range<usize>, String) {
        let right = first_count(self.tokens.len(), |count| !self.can_be_completed(count)) - 1;
        match self.tokens.get(right) {
            Some(token) => {
                let text = &self.expression[token.span.clone()];
                (token.span.clone(), format!("syntax error at `{}`", text.escape_debug()))
            }
            None => {
                let end = self.expression.trim_end().len();
                (end..end, "syntax error: something is missing at the end of the filter".to_owned())
            }
        }
    }

    /// The last token of the shortest beginning that has the same error.
    fn place_of(&self, message: &str) -> Range<usize> {
        let count = first_count(self.tokens.len(), |count| {
            let beginning = format!("{}{}", self.beginning(count), self.closing(count));
            self.message(&beginning).as_deref() == Some(message)
        });
        match self.tokens.get(count - 1) {
            Some(token) => token.span.clone(),
            None => 0..self.expression.len(),
        }
    }

    fn can_be_completed(&self, count: usize) -> bool {
        let (beginning, closing) = (self.beginning(count), self.closing(count));
        COMPLETIONS.iter().any(|completion| {
            ENDINGS.iter().any(|ending| {
                let message = self.message(&format!("{beginning}{completion}{closing}{ending}"));
                !message.is_some_and(|message| message.contains(SYNTAX_ERROR))
            })
        })
    }

    fn beginning(&self, count: usize) -> &str {
        let end =
            count.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.span.end);
        &self.expression[..end]
    }

    /// The signs that close what the first tokens have opened.
    fn closing(&self, count: usize) -> String {
        let mut open = Vec::new();
        for token in &self.tokens[..count.min(self.tokens.len())] {
            match &self.expression[token.span.clone()] {
                "(" => open.push(')'),
                "[" => open.push(']'),
                ")" | "]" => {
                    open.pop();
                }
                _ => {}
            }
        }
        open.iter().rev().collect()
    }

    /// libpcap's error for an expression, if any. Errors of the optimizer are left out: they have no position.
    fn message(&self, expression: &str) -> Option<String> {
        // A completion can become a name that would be looked up; then it does not fit.
        if guard::check(expression).is_err() {
            return Some(SYNTAX_ERROR.to_owned());
        }
        self.target.compile(expression, Optimize::No).err()
    }
}

/// The smallest count from 1 on for which the predicate holds; it must then hold for all larger ones. `limit` + 1 if there is none.
fn first_count(limit: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (1, limit + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
