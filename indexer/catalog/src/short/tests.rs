use netrewind_flows::encapsulation::Encapsulations;
use proptest::prelude::*;

use super::*;
use crate::build::record_of;
use crate::edges::Edges;
use crate::record::tests::{BASE_NS, carried, made};

fn restored(record: &CatalogRecord) -> (Vec<u8>, Vec<u8>) {
    let (short, mut document) = (shorten(record, BASE_NS), vec![7; 3]);
    restore(&short, &Columns::of(record), BASE_NS, &mut document).expect("a short form");
    (short, document)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn documents_come_back(made in made()) {
        let encapsulations = Encapsulations::default();
        let (key, body) = carried(made, &encapsulations);
        let edges = Edges { base: BASE_NS, begins: BASE_NS, ends: BASE_NS + 3_600_000_000_000 };
        let record = record_of(&key, &body, &encapsulations, edges);
        let (short, document) = restored(&record);
        prop_assert_eq!(&document, &record.document);
        prop_assert!(short[0] != AS_IT_IS, "it was shortened");
        prop_assert!(short.len() <= document.len() + 9 - record.addresses.iter().flatten().count() * 4);
    }

    #[test]
    fn bytes_that_are_no_document_come_back(document in prop::collection::vec(any::<u8>(), 0..60), last_ns in any::<u64>()) {
        let record = CatalogRecord { document, last_ns, packets: 7, bytes: 700, ..CatalogRecord::default() };
        prop_assert_eq!(restored(&record).1, record.document);
    }

    #[test]
    fn bytes_that_are_no_short_form_do_no_harm(
        short in prop::collection::vec(any::<u8>(), 0..60),
        numbers in any::<[u64; 4]>(),
        address in any::<Option<u128>>(),
    ) {
        let [first_seconds, duration_seconds, packets, bytes] = numbers;
        let address = address.map(Ipv6Addr::from_bits);
        let columns = Columns {
            first_seconds, duration_seconds, packets, bytes, addresses: [address; 2], ports: [Some(packets), Some(80)],
        };
        let _ = restore(&short, &columns, BASE_NS, &mut Vec::new());
    }
}
