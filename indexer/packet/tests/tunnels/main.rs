//! Packets in tunnels are found at the right offsets: over packets whose nesting is known, over random bytes, and over public
//! captures as tshark sees them.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]
#![expect(clippy::print_stdout, reason = "a test says what it skipped and what it compared")]

mod chance;
mod generate;
mod headers;
mod nested;
mod plausible;
mod tshark;
