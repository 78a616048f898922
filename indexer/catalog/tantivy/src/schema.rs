//! The columns of an hour.

use netrewind_catalog::condition::NumberColumn;
use netrewind_store::time::SECOND_NS;
use tantivy::schema::{FAST, Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions};

/// Unit of the times that records are selected by; the document has the rest. A finer unit would take more bytes.
pub(crate) const TIME_UNIT_NS: u64 = SECOND_NS;

/// The columns of [`SchemaFields::addresses`] and [`SchemaFields::ports`].
pub(crate) const ADDRESSES: [&str; 2] = ["client", "server"];
pub(crate) const PORTS: [&str; 2] = ["client_port", "server_port"];
/// The column of [`SchemaFields::number`].
pub(crate) const NUMBER: &str = "number";

/// Fields of a tantivy document.
#[derive(Clone, Debug)]
pub(crate) struct SchemaFields {
    /// Number in the order of addition. It takes almost no space.
    pub(crate) number: Field,
    /// The first packet, rounded down to [`TIME_UNIT_NS`].
    pub(crate) first: Field,
    /// Time from the first packet to the last, rounded up.
    pub(crate) duration: Field,
    /// One where the record is open; else nothing.
    pub(crate) open: Field,
    /// Addresses of client and server.
    pub(crate) addresses: [Field; 2],
    pub(crate) ports: [Field; 2],
    pub(crate) packets: Field,
    pub(crate) bytes: Field,
    pub(crate) vlan: Field,
    pub(crate) tunnel_id: Field,
    /// Whole, as they are.
    pub(crate) words: Field,
    pub(crate) document: Field,
}

impl SchemaFields {
    pub(crate) fn number(&self, column: NumberColumn) -> Field {
        match column {
            NumberColumn::ClientPort => self.ports[0],
            NumberColumn::ServerPort => self.ports[1],
            NumberColumn::Packets => self.packets,
            NumberColumn::Bytes => self.bytes,
            NumberColumn::Vlan => self.vlan,
            NumberColumn::TunnelId => self.tunnel_id,
        }
    }
}

/// The columns, always the same.
pub(crate) fn schema() -> (Schema, SchemaFields) {
    let mut build = Schema::builder();
    let words = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let fields = SchemaFields {
        number: build.add_u64_field(NUMBER, FAST),
        first: build.add_u64_field("first", FAST),
        duration: build.add_u64_field("duration", FAST),
        open: build.add_u64_field("open", FAST),
        addresses: ADDRESSES.map(|name| build.add_ip_addr_field(name, FAST)),
        ports: PORTS.map(|name| build.add_u64_field(name, FAST)),
        packets: build.add_u64_field("packets", FAST),
        bytes: build.add_u64_field("bytes", FAST),
        vlan: build.add_u64_field("vlan", FAST),
        tunnel_id: build.add_u64_field("tunnel_id", FAST),
        words: build.add_text_field("words", TextOptions::default().set_indexing_options(words)),
        document: build.add_bytes_field("document", STORED),
    };
    (build.build(), fields)
}
