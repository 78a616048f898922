//! Packets as a language model reads them: a line each, and of some the first bytes.

use std::fmt::Write;

use serde_json::{Value, json};

/// Packets of a list with bytes.
pub const PACKETS_WITH_BYTES_MAX: u64 = 10;
/// Bytes of a packet that are shown, from its first.
pub const SHOWN_BYTES_MAX: usize = 512;

/// A page of `/api/v1/packets/list`, in lines.
pub(super) fn in_lines(mut page: Value) -> Value {
    let packets = page.get("packets").and_then(Value::as_array).cloned().unwrap_or_default();
    let lines: Vec<String> = packets.iter().map(line).collect();
    let bytes: Vec<Value> = packets.iter().filter_map(first_bytes).collect();
    let Some(members) = page.as_object_mut() else { return page };
    members.insert("packets".to_owned(), lines.into());
    if !bytes.is_empty() {
        members.insert("bytes".to_owned(), bytes.into());
    }
    page
}

/// `3 2026-11-22T09:31:02.628448290Z 10.0.0.1:40000 > 192.0.2.1:443 TCP 66 [S] seq 7`.
fn line(packet: &Value) -> String {
    let text = |name: &str| packet.get(name).and_then(Value::as_str).unwrap_or("-");
    let number = |name: &str| packet.get(name).and_then(Value::as_u64).unwrap_or_default();
    let end = |address: &str, port: &str| match packet.get(port).and_then(Value::as_u64) {
        Some(port) if text(address).contains(':') => format!("[{}]:{port}", text(address)),
        Some(port) => format!("{}:{port}", text(address)),
        None => text(address).to_owned(),
    };
    let (source, destination) = (end("source", "source_port"), end("destination", "destination_port"));
    let mut line = format!("{} {} {source} > {destination}", number("number"), text("at"));
    _ = write!(line, " {} {} {}", text("protocol"), number("length"), text("summary"));
    for vlan in packet.get("vlans").and_then(Value::as_array).into_iter().flatten() {
        _ = write!(line, ", vlan {vlan}");
    }
    for tunnel in packet.get("tunnels").and_then(Value::as_array).into_iter().flatten() {
        let kind = tunnel.get("kind").and_then(Value::as_str).unwrap_or_default();
        let id = tunnel.get("id").and_then(Value::as_u64).map(|id| format!(" {id}")).unwrap_or_default();
        _ = write!(line, ", in {kind}{id}");
    }
    line
}

/// The first bytes of a packet that came with bytes.
fn first_bytes(packet: &Value) -> Option<Value> {
    let digits = packet.get("bytes")?.as_str()?;
    let shown = digits.get(..2 * SHOWN_BYTES_MAX).unwrap_or(digits);
    Some(json!({"number": packet.get("number"), "captured": packet.get("captured"), "hex": shown}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_becomes_a_line_and_its_bytes_are_cut() {
        let page = json!({"packets": [
            {"number": 1, "at": "2026-11-22T09:31:02.000000001Z", "source": "fe80::1", "source_port": 53, "destination": "fe80::2",
                "destination_port": 9, "protocol": "DNS", "length": 90, "summary": "A example.org", "vlans": [5],
                "tunnels": [{"kind": "vxlan", "id": 42}], "captured": 600, "bytes": "ab".repeat(600)},
            {"number": 2, "at": "2026-11-22T09:31:03.000000000Z", "source": null, "destination": null, "protocol": "ARP",
                "length": 60, "summary": "who has 10.0.0.1"},
        ], "next": null});
        let told = in_lines(page);
        assert_eq!(
            told["packets"],
            json!([
                "1 2026-11-22T09:31:02.000000001Z [fe80::1]:53 > [fe80::2]:9 DNS 90 A example.org, vlan 5, in vxlan 42",
                "2 2026-11-22T09:31:03.000000000Z - > - ARP 60 who has 10.0.0.1"
            ])
        );
        assert_eq!(
            told["bytes"],
            json!([{"number": 1, "captured": 600, "hex": "ab".repeat(SHOWN_BYTES_MAX)}])
        );
    }
}
