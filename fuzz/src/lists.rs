//! The text of a list: any bytes are a list or an error, and a list says the same when it is written and read again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_extractor::lists::{AddressList, PortList};

/// Addresses that are asked for: the ends of both families, and some between.
fn asked() -> impl Iterator<Item = IpAddr> {
    let v4 =
        [0, 1, 0x0a00_0001, 0x0808_0808, u32::MAX - 1, u32::MAX].map(|bits| Ipv4Addr::from_bits(bits).into());
    let v6 = [0, 1, 0x2001_0db8 << 96, u128::MAX].map(|bits| Ipv6Addr::from_bits(bits).into());
    v4.into_iter().chain(v6)
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((list, _)) = AddressList::parse(text) {
        let entries: Vec<String> = list.clone().into();
        assert!(!entries.is_empty() && entries.len() == list.len());
        let again = AddressList::try_from(entries.clone()).expect("it was just written");
        assert!(again == list, "{entries:?}");
        let has_exceptions = entries.iter().any(|entry| entry.starts_with('!'));
        for address in asked() {
            // What an entry has is in the list, unless an exception takes it out.
            let is_in_entry = list.entry_of(address).is_some();
            assert!(list.contains(address) == is_in_entry || has_exceptions, "{address} in {entries:?}");
        }
    }
    if let Ok((list, _)) = PortList::parse(text) {
        let entries: Vec<String> = list.clone().into();
        let again = PortList::try_from(entries.clone()).expect("it was just written");
        assert!(again == list, "{entries:?}");
    }
}
