//! JA4 over the fields that tshark decodes: slow, in strings, and apart from the product's code.

use std::fmt::Write;

use ring::digest::{SHA256, digest};

use crate::tshark::{Row, number};

const DELEGATED_CREDENTIAL: &str = "34";
const SIGNATURE_ALGORITHMS: &str = "13";
const SIGNATURE_ALGORITHMS_CERT: &str = "50";

fn is_grease(value: &str) -> bool {
    number(value).is_some_and(|value| value & 0xf0f == 0xa0a && value & 0xff == value >> 8)
}

fn hash(list: &str) -> String {
    if list.is_empty() {
        return "0".repeat(12);
    }
    let mut digits = String::new();
    digest(&SHA256, list.as_bytes())
        .as_ref()
        .iter()
        .for_each(|byte| write!(digits, "{byte:02x}").expect("written"));
    digits[..12].to_owned()
}

/// The values of the extension itself, of the three that tshark shows under the same name.
fn signature_algorithms(row: &Row, protocol: &str) -> Option<Vec<String>> {
    let lens = row.all(&format!("{protocol}.handshake.sig_hash_alg_len"));
    let mut algorithms = row.all(&format!("{protocol}.handshake.sig_hash_alg")).iter();
    let extensions = row.all(&format!("{protocol}.handshake.extension.type")).iter();
    let lists = extensions.filter(|kind| {
        [DELEGATED_CREDENTIAL, SIGNATURE_ALGORITHMS, SIGNATURE_ALGORITHMS_CERT].contains(&kind.as_str())
    });
    for (kind, len) in lists.zip(lens) {
        let list: Vec<String> = algorithms.by_ref().take(number(len)? as usize / 2).cloned().collect();
        if kind == SIGNATURE_ALGORITHMS {
            return Some(list);
        }
    }
    Some(Vec::new())
}

/// The fingerprint of the client hello in a packet that has only that one.
pub fn ja4(row: &Row, protocol: &str) -> Option<String> {
    let field = |name: &str| row.all(&format!("{protocol}.handshake.{name}"));
    let useful =
        |name: &str| field(name).iter().filter(|value| !is_grease(value)).cloned().collect::<Vec<_>>();
    let carrier = match protocol {
        "dtls" => 'd',
        _ if row.all("udp.stream").is_empty() => 't',
        _ => 'q',
    };
    let offered = useful("extensions.supported_version");
    let version =
        offered.iter().filter_map(|version| number(version)).max().or(number(field("version").first()?))?;
    let version = match version {
        0x304 => "13",
        0x303 => "12",
        0x302 => "11",
        0x301 => "10",
        0x300 => "s3",
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    };
    let hex = |value: &String| format!("{:04x}", number(value).unwrap_or_default());
    let mut ciphers: Vec<String> = useful("ciphersuite").iter().map(hex).collect();
    let mut extensions: Vec<String> = useful("extension.type").iter().map(hex).collect();
    let alpn = field("extensions_alpn_str").first().map_or("00", String::as_str);
    let ends = (alpn.chars().next()?, alpn.chars().last()?);
    let has_name = if extensions.contains(&"0000".to_owned()) { 'd' } else { 'i' };
    let counts = (ciphers.len().min(99), extensions.len().min(99));
    ciphers.sort();
    extensions.retain(|number| number != "0000" && number != "0010");
    extensions.sort();
    let algorithms = signature_algorithms(row, protocol)?
        .iter()
        .filter(|value| !is_grease(value))
        .map(hex)
        .collect::<Vec<_>>();
    let tail = if algorithms.is_empty() {
        extensions.join(",")
    } else {
        format!("{}_{}", extensions.join(","), algorithms.join(","))
    };
    Some(format!(
        "{carrier}{version}{has_name}{:02}{:02}{}{}_{}_{}",
        counts.0,
        counts.1,
        ends.0,
        ends.1,
        hash(&ciphers.join(",")),
        hash(&tail)
    ))
}
