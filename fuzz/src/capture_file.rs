//! Whatever a capture file holds: reading it ends, hands over whole packets, and fails at most once.

use std::io::Cursor;
use std::time::Duration;

use netrewind_recorder::source::capture_file::CaptureFile;
use netrewind_recorder::source::{Received, Source};

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let mut file = CaptureFile::from_reader("fuzz", Cursor::new(bytes.to_vec()));
    let mut failures = 0;
    loop {
        let received = file.receive(Duration::ZERO, &mut |packet| {
            assert_eq!(packet.head.len(), packet.header.caplen as usize);
        });
        match received {
            Ok(Received::End) => break,
            Ok(Received::Packets(count)) => assert!(count > 0),
            Ok(Received::Quiet) => unreachable!("every byte is there"),
            Err(_) => failures += 1,
        }
    }
    assert!(failures <= 1);
}
