//! Whatever a filter's text is: it is refused with an error that shows a part of it, or its verdict on a packet is libpcap's.
//!
//! The input: the length of the text, the text, and a packet.

use std::path::PathBuf;
use std::sync::OnceLock;

use netrewind_filter::{CompileLimits, FilterError, compile};
use netrewind_store::LinkType;
use netrewind_store::layout::file_header;

/// Words whose verdict is chance in libpcap, as it reads memory that nothing has written.
const LEFT_TO_CHANCE: &str = "geneve";

/// An empty capture file, for which libpcap compiles.
fn empty_file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("netrewind-fuzz-{}.pcap", std::process::id()));
        std::fs::write(&path, file_header(LinkType::ETHERNET)).expect("a file");
        path
    })
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Some((&length, rest)) = bytes.split_first() else { return };
    let Some((text, packet)) = rest.split_at_checked(usize::from(length)) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let program = match compile(text, LinkType::ETHERNET, &CompileLimits::default()) {
        Ok(program) => program,
        Err(FilterError::Syntax { span, expression, .. }) => {
            assert!(expression.get(span).is_some());
            return;
        }
        Err(_) => return,
    };
    if text.contains(LEFT_TO_CHANCE) || packet.is_empty() {
        return;
    }
    let handle = pcap::Capture::from_file(empty_file()).expect("an empty capture");
    // What libpcap itself refuses we may have compiled in another way: a list.
    let Ok(theirs) = handle.compile(text, true) else { return };
    let wire_len = u32::try_from(packet.len()).expect("short");
    assert_eq!(program.accepts(packet, wire_len), theirs.filter(packet), "{text}");
}
