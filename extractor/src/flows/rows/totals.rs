//! Hosts, ports, applications and pairs of hosts as rows.

use netrewind_flows::series::Point;
use netrewind_flows::totals::Totals;

use super::CsvRow;
use crate::flows::summary_answer::{ApplicationCount, Edge, HostCount, PortCount};

fn totals(Totals { packets, bytes, conversations, .. }: &Totals) -> [String; 3] {
    [packets, bytes, conversations].map(u64::to_string)
}

impl CsvRow for HostCount {
    const FIELDS: &'static [&'static str] =
        &["address", "packets", "bytes", "sent_bytes", "received_bytes", "conversations"];

    fn fields(&self) -> Vec<String> {
        let Self { address, packets, bytes, sent_bytes, received_bytes, conversations, .. } = self;
        let numbers = [packets, bytes, sent_bytes, received_bytes, conversations];
        std::iter::once(address.to_string()).chain(numbers.map(u64::to_string)).collect()
    }
}

impl CsvRow for PortCount {
    const FIELDS: &'static [&'static str] = &["protocol", "port", "packets", "bytes", "conversations"];

    fn fields(&self) -> Vec<String> {
        [self.protocol.clone(), self.port.to_string()].into_iter().chain(totals(&self.totals)).collect()
    }
}

impl CsvRow for ApplicationCount {
    const FIELDS: &'static [&'static str] = &["name", "guessed", "packets", "bytes", "conversations"];

    fn fields(&self) -> Vec<String> {
        [self.name.clone(), self.guessed.to_string()].into_iter().chain(totals(&self.totals)).collect()
    }
}

impl CsvRow for Edge {
    const FIELDS: &'static [&'static str] = &["a", "b", "packets", "bytes"];

    fn fields(&self) -> Vec<String> {
        vec![self.a.to_string(), self.b.to_string(), self.packets.to_string(), self.bytes.to_string()]
    }
}

impl CsvRow for Point {
    const FIELDS: &'static [&'static str] = &["at", "packets", "bytes", "dropped"];

    fn fields(&self) -> Vec<String> {
        let numbers = [self.packets, self.bytes, self.dropped].map(|number| number.to_string());
        std::iter::once(self.at.to_string()).chain(numbers).collect()
    }
}
