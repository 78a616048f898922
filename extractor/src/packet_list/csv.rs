//! Packets of a list as rows of CSV.

use super::{ListedPacket, PacketLine};
use crate::flows::CsvRow;

impl CsvRow for ListedPacket {
    const FIELDS: &'static [&'static str] = &[
        "number",
        "at",
        "source",
        "source_port",
        "destination",
        "destination_port",
        "protocol",
        "length",
        "captured",
        "summary",
        "vlans",
        "tunnels",
        "cursor",
        "bytes",
    ];

    fn fields(&self) -> Vec<String> {
        let PacketLine {
            source,
            source_port,
            destination,
            destination_port,
            protocol,
            summary,
            vlans,
            tunnels,
        } = &self.line;
        let port = |port: &Option<u16>| port.map(|port| port.to_string()).unwrap_or_default();
        vec![
            self.number.to_string(),
            self.at.to_string(),
            source.clone().unwrap_or_default(),
            port(source_port),
            destination.clone().unwrap_or_default(),
            port(destination_port),
            protocol.clone(),
            self.length.to_string(),
            self.captured.to_string(),
            summary.clone(),
            vlans.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
            tunnels.iter().map(|tunnel| tunnel.in_short()).collect::<Vec<_>>().join(" "),
            self.cursor.to_string(),
            self.bytes.clone().unwrap_or_default(),
        ]
    }
}
