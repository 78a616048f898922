//! Whatever a packet holds: the index takes it apart, and what it knows of its only flow holds for it.

use arbitrary::{Arbitrary, Unstructured};
use netrewind_index::{Builder, Description, Index};
use netrewind_store::{LinkType, PcapWriter, RecordHeader, Records};

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(input) = <(u16, u32, &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let (link_type, len, packet) = input;
    let link_type = LinkType(link_type);
    let mut writer = PcapWriter::new(Vec::new(), link_type).expect("memory takes everything");
    let header = RecordHeader { seconds: 1, nanoseconds: 2, caplen: packet.len() as u32, len };
    writer.write(&header, packet).expect("memory takes everything");
    let segment = writer.finish().expect("memory takes everything");
    let mut builder = Builder::new(link_type, 0);
    Records::of_segment(&segment).for_each(|record| builder.push(&record));
    let index = Index::open(builder.finish().expect("one packet fits")).expect("it was just built");
    let flow = index.flow(0).expect("it was just built");
    let template = &index.templates().expect("they were just built")[flow.template as usize];
    let mut description = Description::default();
    template.describe(&flow, &mut description);
    let mut bits = description.bytes.iter().zip(&description.known).zip(packet);
    assert!(bits.all(|((value, known), byte)| byte & known == *value));
}
