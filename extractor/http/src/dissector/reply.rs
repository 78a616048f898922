//! Replies of `sharkd`: JSON-RPC, a line each. The one to `frame` has the packet's protocol tree.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Number of the request for the packet, and so of its reply.
pub const FRAME_ID: u64 = 2;
/// Fields of a tree, and their nesting.
pub const FIELDS_MAX: usize = 20_000;
/// Nesting of fields.
const DEPTH_MAX: usize = 60;
/// Bytes of a field's text.
const LABEL_BYTES_MAX: usize = 2000;
/// Sources of bytes: the packet, and what was put together or decrypted from several.
const SOURCES_MAX: usize = 32;

/// A packet, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Dissection {
    /// Its layers, the outermost first.
    pub tree: Vec<Field>,
    /// Bytes that fields are in: the packet, then what was put together from several packets, or decoded.
    pub sources: Vec<BytesSource>,
    /// True if there were more fields, or longer texts, than are given.
    pub is_cut: bool,
}

/// A field with its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Field {
    /// Its words, as Wireshark shows them.
    pub label: String,
    /// A display filter of Wireshark for this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub filter: Option<String>,
    /// Source that its bytes are in: index in `sources`.
    pub source: usize,
    /// Place of its bytes in the source; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub offset: Option<u64>,
    /// Number of its bytes.
    pub length: u64,
    /// True if the dissector has worked it out, rather than read it.
    pub is_generated: bool,
    /// Remark of the dissector's: `Chat`, `Note`, `Warn` or `Error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub severity: Option<String>,
    /// Its parts.
    #[schema(no_recursion)]
    pub fields: Vec<Field>,
}

/// Bytes that fields are in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BytesSource {
    /// Its name, such as `Frame (74 bytes)` or `Reassembled TCP (2880 bytes)`.
    pub name: String,
    /// In hexadecimal digits.
    pub bytes: String,
}

#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    result: Option<Frame>,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    message: Option<String>,
}

#[derive(Default, Deserialize)]
struct Frame {
    tree: Option<Vec<Node>>,
    bytes: Option<String>,
    ds: Option<Vec<Source>>,
}

#[derive(Deserialize)]
struct Source {
    name: Option<String>,
    bytes: Option<String>,
}

/// A node, by the keys of sharkd's `frame`.
#[derive(Deserialize)]
struct Node {
    l: Option<String>,
    h: Option<(u64, u64)>,
    f: Option<String>,
    s: Option<String>,
    #[serde(default)]
    g: bool,
    #[serde(default)]
    v: bool,
    #[serde(default)]
    ds: usize,
    #[serde(default)]
    n: Vec<Node>,
}

/// Reads the lines; the error says what is wrong with them.
pub(crate) fn read(text: &[u8]) -> Result<Dissection, String> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut refused = None;
    for line in lines {
        let reply: Reply = match serde_json::from_slice(line) {
            Ok(reply) => reply,
            // Replies to other requests have other forms.
            Err(_) if !is_for_frame(line) => continue,
            Err(error) => return Err(format!("it is not as sharkd answers, at byte {}", error.column())),
        };
        if let Some(error) = reply.error {
            let message = error.message.unwrap_or_default();
            refused = refused.or(Some(format!("it refuses: {}", plain(&message, LABEL_BYTES_MAX).0)));
        } else if reply.id == Some(FRAME_ID) {
            return of(reply.result.unwrap_or_default());
        }
    }
    Err(refused.unwrap_or_else(|| "there is none to the packet".to_owned()))
}

fn is_for_frame(line: &[u8]) -> bool {
    let id = format!("\"id\":{FRAME_ID},");
    line.windows(id.len()).any(|part| part == id.as_bytes())
}

fn of(frame: Frame) -> Result<Dissection, String> {
    let mut sources = Vec::new();
    let packet = Source { name: Some("Packet".to_owned()), bytes: frame.bytes };
    for source in std::iter::once(packet).chain(frame.ds.unwrap_or_default()).take(SOURCES_MAX) {
        let bytes = decoded(source.bytes.as_deref().unwrap_or_default()).ok_or("its bytes are not Base64")?;
        sources.push((plain(&source.name.unwrap_or_default(), LABEL_BYTES_MAX).0, bytes));
    }
    let lengths: Vec<u64> = sources.iter().map(|(_, bytes)| bytes.len() as u64).collect();
    let mut reader = TreeReader { lengths, left: FIELDS_MAX, is_cut: false };
    let tree = reader.fields(frame.tree.ok_or("it has no tree")?, 0);
    let sources = sources.into_iter().map(|(name, bytes)| BytesSource { name, bytes: hexadecimal(&bytes) });
    Ok(Dissection { tree, sources: sources.collect(), is_cut: reader.is_cut })
}

/// Builds a tree within the limits.
struct TreeReader {
    lengths: Vec<u64>,
    left: usize,
    is_cut: bool,
}

impl TreeReader {
    fn fields(&mut self, nodes: Vec<Node>, depth: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        for node in nodes {
            if self.left == 0 || depth >= DEPTH_MAX {
                self.is_cut = true;
                break;
            }
            self.left -= 1;
            // Hidden ones are there for filters alone.
            if node.v {
                continue;
            }
            let (label, is_cut) = plain(&node.l.unwrap_or_default(), LABEL_BYTES_MAX);
            self.is_cut |= is_cut;
            let (offset, length) = self.place(node.ds, node.h);
            fields.push(Field {
                label,
                filter: node.f.map(|filter| plain(&filter, LABEL_BYTES_MAX).0),
                source: if offset.is_some() { node.ds } else { 0 },
                offset,
                length,
                is_generated: node.g,
                severity: node.s.map(|severity| plain(&severity, LABEL_BYTES_MAX).0),
                fields: self.fields(node.n, depth + 1),
            });
        }
        fields
    }

    /// A range within the source's bytes.
    fn place(&self, source: usize, range: Option<(u64, u64)>) -> (Option<u64>, u64) {
        let length = self.lengths.get(source).copied().unwrap_or_default();
        match range {
            Some((offset, bytes)) if bytes > 0 && offset < length => {
                (Some(offset), bytes.min(length - offset))
            }
            _ => (None, 0),
        }
    }
}

/// Text without control characters, of at most so many bytes, and whether it was longer.
fn plain(text: &str, bytes_max: usize) -> (String, bool) {
    let end = text.floor_char_boundary(bytes_max.min(text.len()));
    let kept = text.get(..end).unwrap_or_default();
    let shown = kept.chars().map(|letter| if letter.is_control() { '·' } else { letter }).collect();
    (shown, end < text.len())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 (RFC 4648) with its padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in digits {
        bits = bits << 6 | u32::from(value(digit)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"status":"OK"}}
{"jsonrpc":"2.0","id":2,"result":{"tree":[{"l":"Frame","h":[0,4],"t":"proto","f":"frame","n":[{"l":"a\u0007b","h":[2,9],"f":"x == 1","g":true},{"l":"hidden","v":true}]},{"l":"Far","h":[99,1],"s":"Warn","ds":7}],"bytes":"AAECAw==","fol":[["TCP","tcp.stream==0"]]}}
"#;

    #[test]
    fn a_tree_is_read_within_its_bytes() {
        let Dissection { tree, sources, is_cut } = read(FRAME.as_bytes()).expect("a tree");
        assert_eq!(sources, [BytesSource { name: "Packet".into(), bytes: "00010203".into() }]);
        assert_eq!((tree[0].offset, tree[0].length, tree[0].fields.len(), is_cut), (Some(0), 4, 1, false));
        let part = &tree[0].fields[0];
        assert_eq!((&*part.label, part.offset, part.length, part.is_generated), ("a·b", Some(2), 2, true));
        assert_eq!((tree[1].offset, tree[1].source, tree[1].severity.as_deref()), (None, 0, Some("Warn")));
    }

    #[test]
    fn nonsense_is_an_error_in_words() {
        for (text, words) in [
            ("hello", "there is none"),
            ("{\"id\":2,\"result\":{\"tree\":7}}", "not as sharkd answers"),
            ("{\"id\":2,\"result\":{}}", "no tree"),
            ("{\"id\":2,\"result\":{\"tree\":[],\"bytes\":\"*\"}}", "Base64"),
            ("{\"id\":2,\"error\":{\"code\":-1,\"message\":\"no\\u001bway\"}}", "it refuses: no·way"),
        ] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep = format!("{{\"id\":2,\"result\":{{\"tree\":{}}}}}", "[{\"n\":".repeat(400));
        assert!(read(deep.as_bytes()).is_err());
        let many = format!("{{\"l\":\"x\"}}{}", ",{\"l\":\"x\"}".repeat(FIELDS_MAX + 5));
        let cut = read(format!("{{\"id\":2,\"result\":{{\"tree\":[{many}]}}}}").as_bytes()).expect("a tree");
        assert!(cut.is_cut && cut.tree.len() == FIELDS_MAX);
    }
}
