//! Output of each list's lines as rows of a table.

use jiff::tz::TimeZone;
use netrewind_extractor::flows::{
    ApplicationCount, Conversation, CsvRow, FlowEnd, HostCount, PortCount, Totals,
};
use netrewind_extractor::time_text::in_zone;

use super::fitted::Column;
use crate::terminal;

/// A line of a list.
pub trait Row: CsvRow {
    /// The columns of the table.
    const COLUMNS: &'static [Column];

    /// Texts of the columns, with times in a zone; `for_person` uses readable units.
    fn columns(&self, for_person: bool, zone: &TimeZone) -> Vec<String>;
}

fn size(bytes: u64, for_person: bool) -> String {
    if for_person { terminal::bytes(bytes) } else { bytes.to_string() }
}

fn end(end: &FlowEnd) -> String {
    match (end.address, end.port) {
        (None, _) => "-".to_owned(),
        (Some(address), None) => address.to_string(),
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
    }
}

/// `tls example.org`; in parentheses if only the port suggests it.
fn application(conversation: &Conversation) -> String {
    let Some(labels) = &conversation.labels else { return String::new() };
    match labels.name() {
        _ if labels.guessed => format!("({})", labels.application),
        Some(name) => format!("{} {name}", labels.application),
        None => labels.application.clone(),
    }
}

/// Remarks: TCP state, ICMP messages, fragments, tunnels.
fn remarks(conversation: &Conversation) -> String {
    let mut remarks: Vec<String> = Vec::new();
    remarks.extend(state(conversation));
    remarks.extend(conversation.icmp.map(|icmp| format!("type {} code {}", icmp.kind, icmp.code)));
    remarks.extend(
        (conversation.fragments && conversation.client.port.is_none()).then(|| "fragments".to_owned()),
    );
    remarks.extend(conversation.vlans.iter().map(|vlan| format!("vlan {vlan}")));
    remarks.extend(conversation.tunnels.iter().map(|tunnel| {
        let id = tunnel.id.map_or_else(String::new, |id| format!(" {id}"));
        format!("{}{id}", tunnel.kind)
    }));
    remarks.join(", ")
}

fn state(conversation: &Conversation) -> Option<String> {
    conversation.tcp.as_ref().map(|tcp| tcp.state.name().replace('_', " "))
}

impl Row for Conversation {
    const COLUMNS: &'static [Column] = &[
        Column::text("START").rank(2),
        Column::number("SECONDS").rank(5),
        Column::text("PROTO").rank(3),
        Column::text("CLIENT").above("SERVER"),
        Column::text("SERVER"),
        Column::number("PACKETS OUT").rank(6),
        Column::number("PACKETS IN").rank(6),
        Column::number("BYTES OUT"),
        Column::number("BYTES IN"),
        Column::text("APPLICATION").rank(4).flexible(),
        Column::text("REMARKS").rank(7).flexible(),
    ];

    fn columns(&self, for_person: bool, zone: &TimeZone) -> Vec<String> {
        let seconds = self.last.ns_since(self.first) as f64 / 1e9;
        vec![
            in_zone(&self.first.to_string(), zone).into_owned(),
            format!("{seconds:.3}"),
            self.protocol.clone(),
            end(&self.client),
            end(&self.server),
            self.client_packets.to_string(),
            self.server_packets.to_string(),
            size(self.client_bytes, for_person),
            size(self.server_bytes, for_person),
            application(self),
            remarks(self),
        ]
    }
}

fn totals(Totals { packets, bytes, conversations, .. }: &Totals, for_person: bool) -> [String; 3] {
    [packets.to_string(), size(*bytes, for_person), conversations.to_string()]
}

impl Row for HostCount {
    const COLUMNS: &'static [Column] = &[
        Column::text("HOST"),
        Column::number("PACKETS"),
        Column::number("BYTES"),
        Column::number("SENT").rank(2),
        Column::number("RECEIVED").rank(2),
        Column::number("CONVERSATIONS").rank(1),
    ];

    fn columns(&self, for_person: bool, _zone: &TimeZone) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.packets.to_string(),
            size(self.bytes, for_person),
            size(self.sent_bytes, for_person),
            size(self.received_bytes, for_person),
            self.conversations.to_string(),
        ]
    }
}

impl Row for PortCount {
    const COLUMNS: &'static [Column] = &[
        Column::text("PROTO"),
        Column::number("PORT"),
        Column::number("PACKETS"),
        Column::number("BYTES"),
        Column::number("CONVERSATIONS"),
    ];

    fn columns(&self, for_person: bool, _zone: &TimeZone) -> Vec<String> {
        let mut columns = vec![self.protocol.clone(), self.port.to_string()];
        columns.extend(totals(&self.totals, for_person));
        columns
    }
}

impl Row for ApplicationCount {
    const COLUMNS: &'static [Column] = &[
        Column::text("APPLICATION"),
        Column::number("PACKETS"),
        Column::number("BYTES"),
        Column::number("CONVERSATIONS"),
    ];

    fn columns(&self, for_person: bool, _zone: &TimeZone) -> Vec<String> {
        let name = if self.guessed { format!("{} (by port)", self.name) } else { self.name.clone() };
        let mut columns = vec![name];
        columns.extend(totals(&self.totals, for_person));
        columns
    }
}
