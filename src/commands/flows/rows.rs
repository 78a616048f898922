//! Output of each list's lines: as rows of a table, and as fields of CSV.

use jiff::tz::TimeZone;
use netrewind_extractor::flows::{
    ApplicationCount, Conversation, FlowEnd, HostCount, PortCount, Totals, TunnelRecord,
};
use netrewind_extractor::time_text::in_zone;

use super::fitted::Column;
use crate::terminal;

/// A line of a list.
pub trait Row {
    /// The columns of the table.
    const COLUMNS: &'static [Column];
    /// The fields of CSV.
    const FIELDS: &'static [&'static str];
    /// Texts of the columns, with times in a zone; `for_person` uses readable units.
    fn columns(&self, for_person: bool, zone: &TimeZone) -> Vec<String>;
    /// Values of the CSV fields.
    fn fields(&self) -> Vec<String>;
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

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn joined(values: impl IntoIterator<Item = impl ToString>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

/// `vxlan:42:192.0.2.1>192.0.2.2`.
fn tunnel(tunnel: &TunnelRecord) -> String {
    let id = tunnel.id.map_or_else(String::new, |id| format!(":{id}"));
    match tunnel.source.zip(tunnel.destination) {
        Some((source, destination)) => format!("{}{id}:{source}>{destination}", tunnel.kind),
        None => format!("{}{id}", tunnel.kind),
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

/// All labels besides the application, as JSON.
fn labels(conversation: &Conversation) -> String {
    let others =
        conversation.labels.as_ref().map(|labels| &labels.others).filter(|others| !others.is_empty());
    others.and_then(|others| serde_json::to_string(others).ok()).unwrap_or_default()
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
    let tcp = conversation.tcp.as_ref()?;
    let value = serde_json::to_value(tcp.state).ok()?;
    value.as_str().map(|name| name.replace('_', " "))
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
    const FIELDS: &'static [&'static str] = &[
        "id",
        "first",
        "last",
        "protocol",
        "client_address",
        "client_port",
        "server_address",
        "server_port",
        "client_packets",
        "client_bytes",
        "server_packets",
        "server_bytes",
        "tcp_client_flags",
        "tcp_server_flags",
        "tcp_state",
        "icmp_type",
        "icmp_code",
        "fragments",
        "vlans",
        "tunnels",
        "application",
        "application_guessed",
        "labels",
        "community_id",
        "rtt_ns",
        "client_retransmissions",
        "server_retransmissions",
        "client_out_of_order",
        "server_out_of_order",
        "segments",
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

    fn fields(&self) -> Vec<String> {
        let tcp = self.tcp.as_ref();
        vec![
            self.id.to_string(),
            self.first.to_string(),
            self.last.to_string(),
            self.protocol.clone(),
            or_empty(self.client.address),
            or_empty(self.client.port),
            or_empty(self.server.address),
            or_empty(self.server.port),
            self.client_packets.to_string(),
            self.client_bytes.to_string(),
            self.server_packets.to_string(),
            self.server_bytes.to_string(),
            or_empty(tcp.map(|tcp| &tcp.client_flags)),
            or_empty(tcp.map(|tcp| &tcp.server_flags)),
            or_empty(state(self)).replace(' ', "_"),
            or_empty(self.icmp.map(|icmp| icmp.kind)),
            or_empty(self.icmp.map(|icmp| icmp.code)),
            self.fragments.to_string(),
            joined(&self.vlans),
            joined(self.tunnels.iter().map(tunnel)),
            or_empty(self.labels.as_ref().map(|labels| &labels.application)),
            or_empty(self.labels.as_ref().map(|labels| labels.guessed)),
            labels(self),
            or_empty(self.community_id.as_ref()),
            or_empty(tcp.and_then(|tcp| tcp.rtt_ns)),
            or_empty(tcp.map(|tcp| tcp.client_retransmissions)),
            or_empty(tcp.map(|tcp| tcp.server_retransmissions)),
            or_empty(tcp.map(|tcp| tcp.client_out_of_order)),
            or_empty(tcp.map(|tcp| tcp.server_out_of_order)),
            self.segments.to_string(),
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
    const FIELDS: &'static [&'static str] =
        &["address", "packets", "bytes", "sent_bytes", "received_bytes", "conversations"];

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

    fn fields(&self) -> Vec<String> {
        self.columns(false, &TimeZone::UTC)
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
    const FIELDS: &'static [&'static str] = &["protocol", "port", "packets", "bytes", "conversations"];

    fn columns(&self, for_person: bool, _zone: &TimeZone) -> Vec<String> {
        let mut columns = vec![self.protocol.clone(), self.port.to_string()];
        columns.extend(totals(&self.totals, for_person));
        columns
    }

    fn fields(&self) -> Vec<String> {
        self.columns(false, &TimeZone::UTC)
    }
}

impl Row for ApplicationCount {
    const COLUMNS: &'static [Column] = &[
        Column::text("APPLICATION"),
        Column::number("PACKETS"),
        Column::number("BYTES"),
        Column::number("CONVERSATIONS"),
    ];
    const FIELDS: &'static [&'static str] = &["name", "guessed", "packets", "bytes", "conversations"];

    fn columns(&self, for_person: bool, _zone: &TimeZone) -> Vec<String> {
        let name = if self.guessed { format!("{} (by port)", self.name) } else { self.name.clone() };
        let mut columns = vec![name];
        columns.extend(totals(&self.totals, for_person));
        columns
    }

    fn fields(&self) -> Vec<String> {
        let mut fields = vec![self.name.clone(), self.guessed.to_string()];
        fields.extend(totals(&self.totals, false));
        fields
    }
}
