//! Labels: facts about a conversation read from its first bytes.

use std::borrow::Cow;

use crate::text::Ascii;

/// The longest name of a server, host or domain, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest user agent that is kept, in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 512;
/// The longest method of a request, in bytes.
pub const METHOD_BYTES_MAX: usize = 16;
/// The longest banner (RFC 4253, section 4.2), in bytes.
pub const BANNER_BYTES_MAX: usize = 255;
/// Protocols of an ALPN offer that are kept.
pub const ALPN_MAX: usize = 8;
/// The longest name of a protocol in an ALPN offer, in bytes.
pub const ALPN_BYTES_MAX: usize = 32;
/// Answers to a DNS question that are kept.
pub const ANSWERS_MAX: usize = 8;

/// A JA4 fingerprint of a TLS client, as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
pub type Ja4 = Ascii<36>;

/// The labels of a conversation. Text is valid UTF-8 without control characters (`\x1b` is written out), cut to the limits
/// of this module; names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The protocol: `dns`, `mdns`, `llmnr`, `tls`, `dtls`, `quic`, `http`, `http2`, `ssdp`, `ssh`; or the service name that
    /// IANA gives to the port, where [`Labels::is_guess`].
    pub application: &'static str,
    /// Nothing was recognised, only a port is well known.
    pub is_guess: bool,
    /// Facts from the hellos of TLS, DTLS or QUIC.
    pub tls: Option<Tls>,
    /// Facts from the first request.
    pub http: Option<Http>,
    /// Facts from the first question and answer.
    pub dns: Option<Dns>,
    /// Facts from the banners.
    pub ssh: Option<Ssh>,
    /// The version field of a QUIC long header.
    pub quic_version: Option<u32>,
}

/// Facts from the hellos of a TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The name that the client asks for (RFC 6066, section 3).
    pub server_name: Option<Box<str>>,
    /// The protocols that the client offers, in its order (RFC 7301).
    pub alpn: Vec<Box<str>>,
    /// The client's fingerprint; `None` where its hello is not whole.
    pub ja4: Option<Ja4>,
    /// The highest version that the client offers, as on the wire: 0x0304 is TLS 1.3.
    pub version_offered: Option<u16>,
    /// The version that the server chose.
    pub version: Option<u16>,
    /// The cipher suite that the server chose.
    pub cipher: Option<u16>,
    /// The client sent an encrypted hello (or a decoy of one), so that the server name may be a public one.
    pub has_encrypted_hello: bool,
}

/// Facts from the head of an HTTP/1 request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// `GET`, `POST`, ...
    pub method: Box<str>,
    /// The `Host` field.
    pub host: Option<Box<str>>,
    /// The `User-Agent` field.
    pub user_agent: Option<Box<str>>,
}

/// A DNS question and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The first question.
    pub question: Option<Question>,
    /// The first records of the answer section, in their order.
    pub answers: Vec<ResourceRecord>,
    /// The response's code (0 is no error, 3 no such domain); `None` where no response was seen.
    pub response_code: Option<u8>,
}

/// A question to DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The name without its last dot; a dot inside a label is written `\.`.
    pub name: Box<str>,
    /// The type of records asked for: see [`record_type_name`].
    pub record_type: u16,
}

/// A record of an answer section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRecord {
    /// The record's type: see [`record_type_name`].
    pub record_type: u16,
    /// An address, a name, the first text of TXT; empty for other types.
    pub value: Box<str>,
}

/// The banners of SSH, without the end of the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Banner of the endpoint that sends [`crate::Direction::Forward`].
    pub forward: Option<Box<str>>,
    /// Banner of the other endpoint.
    pub backward: Option<Box<str>>,
}

impl Labels {
    pub(crate) fn of(application: &'static str) -> Box<Self> {
        Box::new(Self { application, ..Self::default() })
    }

    /// Visits each label as key and text; a key with several values comes several times.
    pub fn visit(&self, mut visit: impl FnMut(&'static str, &str)) {
        visit("application", self.application);
        if let Some(tls) = &self.tls {
            tls.visit(&mut visit);
        }
        if let Some(http) = &self.http {
            visit("http_method", &http.method);
            http.host.iter().for_each(|host| visit("http_host", host));
            http.user_agent.iter().for_each(|agent| visit("http_user_agent", agent));
        }
        if let Some(dns) = &self.dns {
            if let Some(question) = &dns.question {
                visit("dns_question", &question.name);
                visit("dns_type", &record_type_name(question.record_type));
            }
            dns.answers
                .iter()
                .filter(|answer| !answer.value.is_empty())
                .for_each(|answer| visit("dns_answer", &answer.value));
        }
        for banner in self.ssh.iter().flat_map(|ssh| ssh.forward.iter().chain(&ssh.backward)) {
            visit("ssh_banner", banner);
        }
        self.quic_version.iter().for_each(|version| visit("quic_version", &format!("0x{version:08x}")));
    }

    /// Adds labels that only the other direction has.
    pub(crate) fn fill_from(&mut self, other: Labels) {
        match (&mut self.tls, other.tls) {
            (Some(ours), Some(theirs)) => ours.fill_from(theirs),
            (ours, theirs) => *ours = ours.take().or(theirs),
        }
        match (&mut self.dns, other.dns) {
            (Some(ours), Some(theirs)) => ours.fill_from(theirs),
            (ours, theirs) => *ours = ours.take().or(theirs),
        }
        match (&mut self.ssh, other.ssh) {
            (Some(ours), Some(theirs)) => {
                ours.forward = ours.forward.take().or(theirs.forward);
                ours.backward = ours.backward.take().or(theirs.backward);
            }
            (ours, theirs) => *ours = ours.take().or(theirs),
        }
        self.http = self.http.take().or(other.http);
        self.quic_version = self.quic_version.or(other.quic_version);
    }
}

impl Tls {
    fn visit(&self, visit: &mut impl FnMut(&'static str, &str)) {
        self.server_name.iter().for_each(|name| visit("server_name", name));
        self.alpn.iter().for_each(|protocol| visit("alpn", protocol));
        self.ja4.iter().for_each(|ja4| visit("ja4", ja4.as_str()));
        self.version
            .or(self.version_offered)
            .iter()
            .for_each(|&version| visit("tls_version", &version_name(version)));
    }

    fn fill_from(&mut self, other: Tls) {
        self.server_name = self.server_name.take().or(other.server_name);
        self.ja4 = self.ja4.or(other.ja4);
        self.version_offered = self.version_offered.or(other.version_offered);
        self.version = self.version.or(other.version);
        self.cipher = self.cipher.or(other.cipher);
        self.has_encrypted_hello |= other.has_encrypted_hello;
        if self.alpn.is_empty() {
            self.alpn = other.alpn;
        }
    }
}

impl Dns {
    fn fill_from(&mut self, other: Dns) {
        self.question = self.question.take().or(other.question);
        self.response_code = self.response_code.or(other.response_code);
        if self.answers.is_empty() {
            self.answers = other.answers;
        }
    }
}

/// The name of a TLS version: `1.3`, `ssl3`, or the number in hexadecimal digits.
pub fn version_name(version: u16) -> Cow<'static, str> {
    Cow::Borrowed(match version {
        0x0002 => "ssl2",
        0x0300 => "ssl3",
        0x0301 => "1.0",
        0x0302 => "1.1",
        0x0303 => "1.2",
        0x0304 => "1.3",
        0xfeff => "dtls1.0",
        0xfefd => "dtls1.2",
        0xfefc => "dtls1.3",
        _ => return Cow::Owned(format!("0x{version:04x}")),
    })
}

/// The name of a DNS record type, as `AAAA`; `TYPE1234` where it has none here (RFC 3597, section 5).
pub fn record_type_name(record_type: u16) -> Cow<'static, str> {
    Cow::Borrowed(match record_type {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        41 => "OPT",
        43 => "DS",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        _ => return Cow::Owned(format!("TYPE{record_type}")),
    })
}
