//! The columns of a table, with what each takes from a record.

use std::net::IpAddr;

use netrewind_catalog::record;
use netrewind_flows::conversation::{Conversation, RangeEnd, TcpRecord, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::labels::LabelValue;
use netrewind_flows::template_facts::FlowKeyKind;
use netrewind_flows::tunnel_record::TunnelRecord;

/// Nanoseconds of a microsecond, the unit of times.
const MICROSECOND_NS: u64 = 1000;

/// Type of a column. Engines differ about unsigned numbers and nanoseconds: there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Microseconds since 1970.
    Time,
    /// A number of 32 bits.
    Integer,
    /// A number of 64 bits.
    Long,
    /// A text in UTF-8.
    Text,
    /// True or false.
    Flag,
    /// Numbers of 32 bits; perhaps none.
    IntegerList,
    /// Texts; perhaps none.
    TextList,
    /// Tunnels, from the outermost; perhaps none.
    TunnelList,
}

impl ColumnType {
    /// Its name in the documentation: Parquet's, as far as there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "TIMESTAMP(MICROS, UTC)",
            Self::Integer => "INT32",
            Self::Long => "INT64",
            Self::Text => "STRING",
            Self::Flag => "BOOLEAN",
            Self::IntegerList => "LIST<INT32>",
            Self::TextList => "LIST<STRING>",
            Self::TunnelList => "LIST<STRUCT<kind STRING, id INT64?, source STRING?, destination STRING?>>",
        }
    }
}

/// Value of a column in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'r> {
    Number(Option<i64>),
    Text(Option<&'r str>),
    OwnText(Option<String>),
    Flag(Option<bool>),
    NumberList(&'r [u16]),
    TextList(Option<&'r LabelValue>),
    TunnelList(&'r [TunnelRecord]),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub column_type: ColumnType,
    /// True if rows may have no value.
    pub is_optional: bool,
    pub(crate) cell: fn(&TableRow) -> Cell<'_>,
}

/// A record as a row of a table.
#[derive(Debug)]
pub(crate) struct TableRow {
    conversation: Conversation,
    /// Number of the IP protocol, where there is an IP header.
    protocol_number: Option<u8>,
    may_cross_hour: bool,
}

impl TableRow {
    /// Row of a record's document, in an hour that begins at `base_ns` and has packets until `ending`; `None` if it is no record.
    pub(crate) fn read(
        document: &[u8],
        base_ns: u64,
        ending: RangeEnd,
        beside: &Encapsulations,
    ) -> Option<Self> {
        let (part, standing) = record::read(document, beside, base_ns)?;
        Some(Self {
            conversation: describe(&part.key, &part.body, beside, ending),
            protocol_number: (part.key.kind != FlowKeyKind::Other).then_some(part.key.protocol),
            may_cross_hour: standing.is_open,
        })
    }

    fn tcp(&self) -> Option<&TcpRecord> {
        self.conversation.tcp.as_ref()
    }

    fn tcp_number(&self, number: fn(&TcpRecord) -> Option<u64>) -> Cell<'_> {
        Cell::Number(self.tcp().and_then(number).map(signed))
    }

    fn label(&self, name: &str) -> Option<&LabelValue> {
        self.conversation.labels.as_ref()?.others.get(name)
    }

    fn label_text(&self, name: &str) -> Cell<'_> {
        Cell::Text(self.label(name).map(LabelValue::first))
    }
}

/// A count as a signed number. None that is met is as large as the largest of these.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn number<'r>(count: impl Into<u64>) -> Cell<'r> {
    Cell::Number(Some(signed(count.into())))
}

fn optional<'r>(count: Option<impl Into<u64>>) -> Cell<'r> {
    Cell::Number(count.map(|count| signed(count.into())))
}

fn address<'r>(address: Option<IpAddr>) -> Cell<'r> {
    Cell::OwnText(address.map(|address| address.to_string()))
}

const fn always(name: &'static str, column_type: ColumnType, cell: fn(&TableRow) -> Cell<'_>) -> Column {
    Column { name, column_type, is_optional: false, cell }
}

const fn sometimes(name: &'static str, column_type: ColumnType, cell: fn(&TableRow) -> Cell<'_>) -> Column {
    Column { name, column_type, is_optional: true, cell }
}

/// Names of the columns that have bloom filters: rows are looked for by them.
pub const BLOOM_FILTERED: [&str; 3] = ["client_address", "server_address", "community_id"];

/// The columns, in their order. A table is sorted by the first two.
pub const COLUMNS: &[Column] = &[
    always("first", ColumnType::Time, |row| number(row.conversation.first.ns() / MICROSECOND_NS)),
    always("first_ns", ColumnType::Integer, |row| number(row.conversation.first.ns() % MICROSECOND_NS)),
    always("last", ColumnType::Time, |row| number(row.conversation.last.ns() / MICROSECOND_NS)),
    always("last_ns", ColumnType::Integer, |row| number(row.conversation.last.ns() % MICROSECOND_NS)),
    always("protocol", ColumnType::Text, |row| Cell::Text(Some(&row.conversation.protocol))),
    sometimes("protocol_number", ColumnType::Integer, |row| optional(row.protocol_number)),
    sometimes("client_address", ColumnType::Text, |row| address(row.conversation.client.address)),
    sometimes("client_port", ColumnType::Integer, |row| optional(row.conversation.client.port)),
    sometimes("server_address", ColumnType::Text, |row| address(row.conversation.server.address)),
    sometimes("server_port", ColumnType::Integer, |row| optional(row.conversation.server.port)),
    always("client_packets", ColumnType::Long, |row| number(row.conversation.client_packets)),
    always("client_bytes", ColumnType::Long, |row| number(row.conversation.client_bytes)),
    always("server_packets", ColumnType::Long, |row| number(row.conversation.server_packets)),
    always("server_bytes", ColumnType::Long, |row| number(row.conversation.server_bytes)),
    sometimes("tcp_client_flags", ColumnType::Text, |row| {
        Cell::Text(row.tcp().map(|tcp| tcp.client_flags.as_str()))
    }),
    sometimes("tcp_server_flags", ColumnType::Text, |row| {
        Cell::Text(row.tcp().map(|tcp| tcp.server_flags.as_str()))
    }),
    sometimes("tcp_state", ColumnType::Text, |row| Cell::Text(row.tcp().map(|tcp| tcp.state.name()))),
    sometimes("rtt_ns", ColumnType::Long, |row| row.tcp_number(|tcp| tcp.rtt_ns)),
    sometimes("client_retransmissions", ColumnType::Long, |row| {
        row.tcp_number(|tcp| Some(tcp.client_retransmissions))
    }),
    sometimes("server_retransmissions", ColumnType::Long, |row| {
        row.tcp_number(|tcp| Some(tcp.server_retransmissions))
    }),
    sometimes("client_out_of_order", ColumnType::Long, |row| {
        row.tcp_number(|tcp| Some(tcp.client_out_of_order))
    }),
    sometimes("server_out_of_order", ColumnType::Long, |row| {
        row.tcp_number(|tcp| Some(tcp.server_out_of_order))
    }),
    sometimes("icmp_type", ColumnType::Integer, |row| optional(row.conversation.icmp.map(|icmp| icmp.kind))),
    sometimes("icmp_code", ColumnType::Integer, |row| optional(row.conversation.icmp.map(|icmp| icmp.code))),
    always("fragments", ColumnType::Flag, |row| Cell::Flag(Some(row.conversation.fragments))),
    always("vlans", ColumnType::IntegerList, |row| Cell::NumberList(&row.conversation.vlans)),
    always("tunnels", ColumnType::TunnelList, |row| Cell::TunnelList(&row.conversation.tunnels)),
    always("server_tunnels", ColumnType::TunnelList, |row| {
        Cell::TunnelList(&row.conversation.server_tunnels)
    }),
    sometimes("application", ColumnType::Text, |row| {
        Cell::Text(row.conversation.labels.as_ref().map(|labels| labels.application.as_str()))
    }),
    sometimes("application_guessed", ColumnType::Flag, |row| {
        Cell::Flag(row.conversation.labels.as_ref().map(|labels| labels.guessed))
    }),
    sometimes("server_name", ColumnType::Text, |row| row.label_text("server_name")),
    always("alpn", ColumnType::TextList, |row| Cell::TextList(row.label("alpn"))),
    sometimes("ja4", ColumnType::Text, |row| row.label_text("ja4")),
    sometimes("tls_version", ColumnType::Text, |row| row.label_text("tls_version")),
    sometimes("http_method", ColumnType::Text, |row| row.label_text("http_method")),
    sometimes("http_host", ColumnType::Text, |row| row.label_text("http_host")),
    sometimes("http_user_agent", ColumnType::Text, |row| row.label_text("http_user_agent")),
    sometimes("dns_question", ColumnType::Text, |row| row.label_text("dns_question")),
    sometimes("dns_type", ColumnType::Text, |row| row.label_text("dns_type")),
    always("dns_answer", ColumnType::TextList, |row| Cell::TextList(row.label("dns_answer"))),
    always("ssh_banner", ColumnType::TextList, |row| Cell::TextList(row.label("ssh_banner"))),
    sometimes("quic_version", ColumnType::Text, |row| row.label_text("quic_version")),
    sometimes("community_id", ColumnType::Text, |row| Cell::Text(row.conversation.community_id.as_deref())),
    always("id", ColumnType::Text, |row| Cell::OwnText(Some(row.conversation.id.to_string()))),
    always("segments", ColumnType::Integer, |row| number(row.conversation.segments)),
    always("may_cross_hour", ColumnType::Flag, |row| Cell::Flag(Some(row.may_cross_hour))),
];
