//! Conversations as rows.

use netrewind_flows::conversation::Conversation;
use netrewind_flows::tunnel_record::TunnelRecord;

use super::{CsvRow, or_empty};

fn joined(values: impl IntoIterator<Item = impl ToString>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

/// All labels besides the application, as JSON.
fn labels(conversation: &Conversation) -> String {
    let others =
        conversation.labels.as_ref().map(|labels| &labels.others).filter(|others| !others.is_empty());
    others.and_then(|others| serde_json::to_string(others).ok()).unwrap_or_default()
}

impl CsvRow for Conversation {
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
            or_empty(tcp.map(|tcp| tcp.state.name())),
            or_empty(self.icmp.map(|icmp| icmp.kind)),
            or_empty(self.icmp.map(|icmp| icmp.code)),
            self.fragments.to_string(),
            joined(&self.vlans),
            joined(self.tunnels.iter().map(TunnelRecord::in_short)),
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
