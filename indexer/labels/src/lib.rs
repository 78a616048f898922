//! Labels a conversation by its first bytes: the application, and the names in its hellos, questions and requests (TLS, DTLS and
//! QUIC server names, ALPN and JA4; HTTP hosts; DNS questions and answers; SSH banners). And its [Community ID](community_id).
//!
//! ```text
//!  payloads of the first packets, in order of arrival
//!     |  TCP: by offset in the stream          UDP: by datagram
//!  [`Labeller`] -> front of each direction -> recognisers -> [`Labels`]
//!                  at most [`BYTES_MAX`]      dns http quic ssh tls
//! ```
//!
//! Labels are a function of the bytes: however a stream is cut into packets, and in whatever order these come, they are the
//! same. Nothing that the bytes hold can make it panic, take more than [`HEAP_BYTES_MAX`], or look at more than the first
//! [`BYTES_MAX`] of a stream or [`DATAGRAMS_MAX`] datagrams of each direction. Where nothing is recognised, a well-known port
//! gives a name, marked as a guess.

mod client_hello;
mod community_id;
mod cursor;
mod dns;
mod http;
mod ja4;
mod labeller;
mod labels;
mod prefix;
mod quic;
mod services;
mod ssh;
mod text;
mod tls;
mod verdict;

pub use community_id::{CommunityId, community_id, is_community_id};
pub use labeller::{ConversationPorts, LabelStep, Labeller, may_tell};
pub use labels::{
    ALPN_BYTES_MAX, ALPN_MAX, ANSWERS_MAX, BANNER_BYTES_MAX, Dns, Http, Ja4, Labels, METHOD_BYTES_MAX,
    NAME_BYTES_MAX, Question, ResourceRecord, Ssh, Tls, USER_AGENT_BYTES_MAX, record_type_name, version_name,
};
pub use text::{Ascii, text as printable};

/// Bytes at the front of a stream, or of a datagram, that are looked at.
pub const BYTES_MAX: usize = 4096;

/// Datagrams of each direction that are looked at.
pub const DATAGRAMS_MAX: u8 = 4;

/// Largest heap use of a [`Labeller`], without the labels found.
pub const HEAP_BYTES_MAX: usize = 3 * (2 * BYTES_MAX + 1024);

/// Transport protocol of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Direction of a packet within its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The endpoint whose port stands first in [`ConversationPorts::ports`].
    Forward = 0,
    /// The other one.
    Backward = 1,
}
