//! One packet in a line: its ends, its protocol, and a summary.

use std::fmt::Write;

use netrewind_flows::tunnel_record::TunnelRecord;
use serde::Serialize;

/// The longest summary, in bytes; longer ones are cut and end with an ellipsis.
pub const SUMMARY_BYTES_MAX: usize = 300;
const ELLIPSIS: char = '…';

/// Facts about a packet that fit in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PacketLine {
    /// Address that sent it: IP if it has one, else that of its link layer; absent if neither is known.
    pub source: Option<String>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub source_port: Option<u16>,
    /// Address that it is for.
    pub destination: Option<String>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub destination_port: Option<u16>,
    /// Innermost protocol that is known: `TCP`, `DNS`, `ARP`...
    pub protocol: String,
    /// Contents, in a line without control characters.
    pub summary: String,
    /// VLAN tags, from the outermost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// Tunnels that the packet came through, from the outermost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<TunnelRecord>,
}

impl PacketLine {
    /// Sets the protocol.
    pub(super) fn is_of(&mut self, protocol: &str) {
        self.protocol.clear();
        self.protocol.push_str(protocol);
    }

    /// Adds words to the summary, after a blank if there are some.
    pub(super) fn say(&mut self, words: std::fmt::Arguments<'_>) {
        if !self.summary.is_empty() {
            self.summary.push(' ');
        }
        _ = self.summary.write_fmt(words);
    }

    /// Adds text from the wire: its control characters are written out.
    pub(super) fn quote(&mut self, text: &[u8]) {
        let text = netrewind_labels::printable(text, SUMMARY_BYTES_MAX);
        self.say(format_args!("{text}"));
    }

    /// Cuts the summary to [`SUMMARY_BYTES_MAX`].
    pub(super) fn cut(&mut self) {
        if self.summary.len() <= SUMMARY_BYTES_MAX {
            return;
        }
        let end = self.summary.floor_char_boundary(SUMMARY_BYTES_MAX - ELLIPSIS.len_utf8());
        self.summary.truncate(end);
        self.summary.push(ELLIPSIS);
    }
}
