//! Reasons why an expression is refused, with the position in it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

use super::instruction::ProgramError;

/// Columns of an expression that are shown on either side of an error.
const SHOWN_COLUMNS: usize = 40;

/// Reasons why an expression gives no program.
#[derive(Debug, Error)]
pub enum FilterError {
    /// The expression is wrong, or has no meaning on this link type. The message is libpcap's.
    #[error("{message}\n{}", MarkedSpan { expression, span })]
    Syntax {
        /// The whole expression.
        expression: String,
        /// The bytes of it that are wrong; all of them if that is not known.
        span: Range<usize>,
        /// Description of the error.
        message: String,
    },
    /// A name that would have to be looked up in DNS or a like service.
    #[error("{}\n{}", about_name(&expression[span.clone()], remedy.as_deref()), MarkedSpan { expression, span })]
    Name {
        /// The whole expression.
        expression: String,
        /// The bytes of the name.
        span: Range<usize>,
        /// Text to write instead, if there is a suggestion.
        remedy: Option<String>,
    },
    /// The expression contradicts itself or has no meaning for the link type: it would accept no packet at all.
    #[error("the filter `{}` rejects all packets", shortened(expression))]
    RejectsAll {
        /// The whole expression.
        expression: String,
    },
    /// More text than is compiled.
    #[error("the filter is {bytes} bytes long; the limit is {bytes_max}")]
    TooLong {
        /// Length of the expression.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The compiler ran into one of its limits.
    #[error(
        "the filter is too expensive to compile: {limit}. Use networks instead of long lists of hosts, or split the query"
    )]
    TooExpensive {
        /// The limit that was reached, in words.
        limit: String,
    },
    /// A large expression, if no compiler process can be started.
    #[error("the filter has {tokens} tokens; the limit without a compiler process is {tokens_max}")]
    NoWorker {
        /// Words and signs in the expression.
        tokens: usize,
        /// The limit.
        tokens_max: usize,
    },
    /// The compiler process could not be run, or failed.
    #[error("the filter compiler {}: {source}", worker.display())]
    Worker {
        /// The executable.
        worker: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Too many are being compiled at once.
    #[error("too many large filters are being compiled at once: ask again later")]
    Busy,
    /// Nobody waits for it any more.
    #[error("the filter was not compiled: the query was cancelled")]
    GivenUp,
    /// libpcap could open no interface to compile a capture filter for.
    #[error("compiling this capture filter needs an Ethernet interface that is up: {reason}")]
    NoHandle {
        /// Reasons why none could be opened, by interface.
        reason: String,
    },
    /// libpcap's program is not one that we run.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl FilterError {
    /// Description in one line, if the error has a position in the expression.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Syntax { message, .. } => Some(message.clone()),
            Self::Name { expression, span, remedy } => {
                Some(about_name(&expression[span.clone()], remedy.as_deref()))
            }
            _ => None,
        }
    }
}

fn about_name(name: &str, remedy: Option<&str>) -> String {
    let name: String = printable(name).into_iter().collect();
    match remedy {
        Some(remedy) => format!("`{name}` is not a keyword of capture filters: {remedy}"),
        None => format!(
            "`{name}` is neither a keyword nor an address, and names are not looked up: use the address"
        ),
    }
}

/// An expression with a line of carets under a part of it, on two lines.
struct MarkedSpan<'a> {
    expression: &'a str,
    span: &'a Range<usize>,
}

impl fmt::Display for MarkedSpan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.span.end.min(self.expression.len());
        let before = printable(self.expression.get(..self.span.start).unwrap_or_default());
        let blamed = printable(self.expression.get(self.span.start..end).unwrap_or_default());
        let after = printable(self.expression.get(end..).unwrap_or_default());
        let skipped = before.len().saturating_sub(SHOWN_COLUMNS);
        let shown_before: String = before[skipped..].iter().collect();
        let shown_blamed: String = blamed.iter().take(2 * SHOWN_COLUMNS).collect();
        let shown_after: String = after.iter().take(SHOWN_COLUMNS).collect();
        writeln!(f, "  {shown_before}{shown_blamed}{shown_after}")?;
        let indent = shown_before.chars().count() + 2;
        write!(f, "{:indent$}{:^<width$}", "", "", width = shown_blamed.chars().count().max(1))
    }
}

/// One column for each character: line breaks and other control characters are shown as spaces.
pub(super) fn printable(text: &str) -> Vec<char> {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(expression: &str) -> String {
    printable(expression).into_iter().take(2 * SHOWN_COLUMNS).collect()
}
