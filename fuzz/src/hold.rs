//! Whatever the file of a hold says: what it names is held, and damage holds more, never less.

use netrewind_store::hold::HoldText;
use netrewind_store::seal::sealed;
use netrewind_store::{SegmentName, Timestamp};

/// The last change to the file.
const CHANGED: Timestamp = Timestamp::new(1_795_339_861, 0);

/// Reads any bytes, as they are and as lines with the right numbers and checksums.
pub fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().zip(1..).map(|(line, number)| sealed(line, number) + "\n");
    for bytes in [bytes, lines.collect::<String>().as_bytes()] {
        let read = HoldText::read(bytes, CHANGED);
        let names = read.names();
        assert!(read.segments.iter().all(|held| names.may_hold(&held.segment)));
        assert!(read.segments.windows(2).all(|pair| pair[0].segment < pair[1].segment));
        assert!(read.doubts.is_empty() || !read.faults.is_empty(), "{read:?}");
        match &read.head {
            None => assert!(
                names.may_hold(&SegmentName { opened: CHANGED, lane: 0 }) || !read.segments.is_empty()
            ),
            Some(head) if read.faults.is_empty() => {
                let again = HoldText::write(head, &read.segments);
                assert_eq!(HoldText::read(again.as_bytes(), CHANGED), read);
            }
            Some(_) => {}
        }
    }
}
