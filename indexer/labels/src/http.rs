//! The head of an HTTP/1 request (RFC 9112), read as leniently as servers do: what counts is which fields were sent, not
//! whether they should have been.

use memchr::{memchr, memchr_iter};

use crate::labels::{Http, Labels, METHOD_BYTES_MAX, NAME_BYTES_MAX, USER_AGENT_BYTES_MAX};
use crate::text::{name, text};
use crate::verdict::Recognition;

/// The methods of the IANA registry, of UPnP and of Microsoft's RPC that begin conversations.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"PATCH",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"MERGE",
    b"CHECKOUT",
    b"MKACTIVITY",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"M-SEARCH",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
    b"RPC_CONNECT",
    b"CCM_POST",
    b"BITS_POST",
];
/// Connection preface of HTTP/2 without TLS (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const VERSION: &[u8] = b"HTTP/1.";

/// Judges the front of a TCP stream. Where `is_last`, what is missing of the head will not come.
pub(crate) fn recognise(bytes: &[u8], is_last: bool) -> Recognition {
    match begins_as(bytes, HTTP2_PREFACE) {
        Some(true) => return Recognition::Whole(Labels::of("http2")),
        Some(false) => {}
        None if is_last && bytes.len() > b"PRI *".len() => return Recognition::Whole(Labels::of("http2")),
        None => return Recognition::more_unless(is_last),
    }
    match begins_as(bytes, VERSION) {
        Some(true) => return Recognition::Part(Labels::of("http")),
        Some(false) => {}
        None => return Recognition::more_unless(is_last),
    }
    match has_method(bytes) {
        Some(true) if is_last || ends(bytes) => request(bytes, "http"),
        Some(false) => Recognition::Nothing,
        _ => Recognition::more_unless(is_last),
    }
}

/// Judges a datagram: SSDP speaks HTTP in datagrams (UPnP Device Architecture, section 1).
pub(crate) fn recognise_datagram(datagram: &[u8]) -> Recognition {
    match has_method(datagram) {
        Some(true) => request(datagram, "ssdp"),
        _ if datagram.starts_with(VERSION) => Recognition::Part(Labels::of("ssdp")),
        _ => Recognition::Nothing,
    }
}

/// True if the bytes begin with `front`; `None` if there are too few bytes to decide.
fn begins_as(bytes: &[u8], front: &[u8]) -> Option<bool> {
    let len = bytes.len().min(front.len());
    if bytes[..len] != front[..len] { Some(false) } else { (len == front.len()).then_some(true) }
}

/// True if the bytes begin with a method and a space; `None` if there are too few bytes to decide.
fn has_method(bytes: &[u8]) -> Option<bool> {
    if !matches!(bytes.first(), Some(b'A'..=b'Z') | None) {
        return Some(false);
    }
    let front = &bytes[..bytes.len().min(METHOD_BYTES_MAX)];
    match memchr(b' ', front) {
        Some(end) => Some(METHODS.contains(&&front[..end])),
        None if METHODS.iter().any(|method| method.starts_with(front)) => None,
        None => Some(false),
    }
}

/// True if the empty line after the head is there.
fn ends(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).any(|at| matches!(&bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// The lines of a head without their ends, up to the empty one; a last line without an end is left out.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    let line = std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    });
    line.take_while(|line| !line.is_empty())
}

fn request(head: &[u8], application: &'static str) -> Recognition {
    let mut lines = lines(head);
    let Some(first) = lines.next() else { return Recognition::Nothing };
    // RTSP and SIP have methods of the same names.
    let version = first.trim_ascii_end().rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    if !version.starts_with(VERSION) {
        return Recognition::Nothing;
    }
    let method = first.split(|&byte| byte == b' ').next().unwrap_or_default();
    let mut http = Http { method: text(method, METHOD_BYTES_MAX), ..Http::default() };
    for line in lines {
        let Some(colon) = memchr(b':', line) else { continue };
        let (field, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        if http.host.is_none() && field.eq_ignore_ascii_case(b"host") {
            http.host = Some(name(value, NAME_BYTES_MAX));
        } else if http.user_agent.is_none() && field.eq_ignore_ascii_case(b"user-agent") {
            http.user_agent = Some(text(value, USER_AGENT_BYTES_MAX));
        }
    }
    Recognition::Whole(Box::new(Labels { application, http: Some(http), ..Labels::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(bytes: &[u8], is_last: bool) -> Option<Http> {
        match recognise(bytes, is_last) {
            Recognition::Whole(labels) => labels.http,
            _ => None,
        }
    }

    #[test]
    fn a_request_names_host_and_user_agent() {
        let head = b"GET /a HTTP/1.1\r\nuser-agent:  curl/8 \r\nHOST: Example.org:80\r\nHost: other\r\n\r\nHost: body";
        let found = http(head, false).expect("a request");
        assert_eq!(found.host.as_deref(), Some("example.org:80"));
        assert_eq!(found.user_agent.as_deref(), Some("curl/8"));
        assert_eq!(&*found.method, "GET");
    }

    #[test]
    fn a_head_without_an_end_is_read_when_no_more_comes() {
        let head = b"POST / HTTP/1.0\nHost: a\nUser-Agent: cut o";
        assert!(matches!(recognise(head, false), Recognition::More));
        let found = http(head, true).expect("a request");
        assert_eq!((found.host.as_deref(), found.user_agent), (Some("a"), None));
    }

    #[test]
    fn other_protocols_are_not_taken_for_it() {
        for bytes in [
            &b"OPTIONS rtsp://a RTSP/1.0\r\n\r\n"[..],
            b"GETTING ",
            b"220 mail ESMTP\r\n",
            b"USER x\r\n",
            b"EHLO a\r\n",
        ] {
            assert!(matches!(recognise(bytes, false), Recognition::Nothing), "{}", bytes.escape_ascii());
        }
    }
}
