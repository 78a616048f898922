//! Names of HTTP headers that the service writes and the client of remote recorders reads.

/// Header of an HTTP response with what is known of an answer's completeness before it is read.
pub const COMPLETENESS_HEADER: &str = "netrewind-completeness";
/// Trailer of an HTTP response, or its header where the answer is small, with what is known after the answer was read.
pub const ANSWER_HEADER: &str = "netrewind-answer";
