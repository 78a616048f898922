//! Content of a stream, and the two ends that exchanged it.

use std::net::{IpAddr, Ipv4Addr};

use netrewind_flows::conversation::{Conversation, FlowEnd, protocol_number};
use netrewind_store::Timestamp;
use serde::{Serialize, Serializer};

/// An end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamEnd {
    /// Its address.
    pub address: IpAddr,
    /// Its port; zero where the protocol has none.
    pub port: u16,
}

/// Whose stream is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Protocol (IANA): the payload of TCP and UDP, of others everything after the network header.
    pub protocol: u8,
    /// End shown as the client.
    pub client: StreamEnd,
    /// The other one.
    pub server: StreamEnd,
}

impl Ends {
    /// Ends of a conversation.
    pub fn of(flow: &Conversation) -> Self {
        let end = |end: &FlowEnd| StreamEnd {
            address: end.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: end.port.unwrap_or(0),
        };
        Self {
            protocol: protocol_number(&flow.protocol),
            client: end(&flow.client),
            server: end(&flow.server),
        }
    }
}

/// Speaker in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// [`Ends::client`].
    Client,
    /// [`Ends::server`].
    Server,
}

impl Speaker {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Bytes sent by one end before the other sends; or one datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Chunk {
    /// Sender.
    pub from: Speaker,
    /// Capture time of its first byte.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub at: Timestamp,
    /// Bytes of the stream missing before these.
    #[serde(skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schema(required = false))]
    pub missing: u64,
    /// Content; in JSON as base64 (RFC 4648).
    #[serde(serialize_with = "as_base64")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub bytes: Vec<u8>,
}

/// A conversation's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stream {
    /// In the order in which it was sent.
    pub chunks: Vec<Chunk>,
    /// True if there is more than the limit allows.
    pub truncated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for letter in 0..4 {
            let shown = letter <= group.len();
            text.push(if shown {
                char::from(LETTERS[(bits >> (18 - 6 * letter)) as usize & 63])
            } else {
                '='
            });
        }
    }
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_base64() {
        let written = |bytes: &[u8]| {
            let chunk = Chunk { from: Speaker::Client, at: Timestamp(0), missing: 0, bytes: bytes.to_vec() };
            serde_json::to_value(chunk).expect("JSON")["bytes"].as_str().map(str::to_owned)
        };
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{ff}?", "w78/"),
        ] {
            assert_eq!(written(bytes.as_bytes()).as_deref(), Some(text), "RFC 4648 section 10");
        }
    }
}
