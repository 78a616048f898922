//! SSH's identification strings (RFC 4253, section 4.2).

use memchr::memchr2;

use crate::Direction;
use crate::labels::{BANNER_BYTES_MAX, Labels, Ssh};
use crate::text::text;
use crate::verdict::Recognition;

const FRONT: &[u8] = b"SSH-";

/// Judges the front of a TCP stream. Where `is_last`, the end of the line will not come.
pub(crate) fn recognise(bytes: &[u8], direction: Direction, is_last: bool) -> Recognition {
    let len = bytes.len().min(FRONT.len());
    if bytes[..len] != FRONT[..len] {
        return Recognition::Nothing;
    }
    let line = &bytes[..bytes.len().min(BANNER_BYTES_MAX)];
    let end = match memchr2(b'\r', b'\n', line) {
        Some(end) => end,
        None if line.len() == BANNER_BYTES_MAX || is_last && line.len() > FRONT.len() => line.len(),
        None => return Recognition::more_unless(is_last),
    };
    let banner = Some(text(&line[..end], BANNER_BYTES_MAX));
    let ssh = match direction {
        Direction::Forward => Ssh { forward: banner, backward: None },
        Direction::Backward => Ssh { forward: None, backward: banner },
    };
    Recognition::Part(Box::new(Labels { application: "ssh", ssh: Some(ssh), ..Labels::default() }))
}
