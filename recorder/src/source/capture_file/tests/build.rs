//! Capture files made field by field, as odd as a test wants them.

/// Numbers in a byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) big: bool,
}

impl Order {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u64(self, value: u64) -> [u8; 8] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A pcap file header.
    pub(super) fn pcap(self, magic: u32, version: (u16, u16), snaplen: u32, link_type: u32) -> Vec<u8> {
        let mut bytes = self.u32(magic).to_vec();
        bytes.extend(self.u16(version.0));
        bytes.extend(self.u16(version.1));
        for field in [0, 0, snaplen, link_type] {
            bytes.extend(self.u32(field));
        }
        bytes
    }

    /// A pcap record.
    pub(super) fn record(self, fields: [u32; 4], packet: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = fields.into_iter().flat_map(|field| self.u32(field)).collect();
        bytes.extend(packet);
        bytes
    }

    /// A pcapng block with its lengths and padding.
    pub(super) fn block(self, type_: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = self.u32(u32::try_from(padded + 12).expect("a block"));
        let mut bytes = self.u32(type_).to_vec();
        bytes.extend(length);
        bytes.extend(body);
        bytes.resize(8 + padded, 0);
        bytes.extend(length);
        bytes
    }

    pub(super) fn section(self) -> Vec<u8> {
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    /// An interface description block; `reserved` should be zero.
    pub(super) fn interface(self, link_type: u16, reserved: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
        let mut body = self.u16(link_type).to_vec();
        body.extend(self.u16(reserved));
        body.extend(self.u32(snaplen));
        body.extend(options);
        self.block(1, &body)
    }

    pub(super) fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = self.u16(code).to_vec();
        bytes.extend(self.u16(u16::try_from(value.len()).expect("an option")));
        bytes.extend(value);
        bytes.resize(4 + value.len().next_multiple_of(4), 0);
        bytes
    }

    pub(super) fn enhanced_packet(
        self,
        interface: u32,
        ticks: u64,
        lengths: [u32; 2],
        packet: &[u8],
    ) -> Vec<u8> {
        self.packet_block(6, self.u32(interface), ticks, lengths, packet)
    }

    pub(super) fn obsolete_packet(
        self,
        interface: u16,
        ticks: u64,
        lengths: [u32; 2],
        packet: &[u8],
    ) -> Vec<u8> {
        const DROPS: u16 = 77;
        let [first, second] = self.u16(interface);
        let [third, fourth] = self.u16(DROPS);
        self.packet_block(2, [first, second, third, fourth], ticks, lengths, packet)
    }

    fn packet_block(
        self,
        type_: u32,
        interface: [u8; 4],
        ticks: u64,
        lengths: [u32; 2],
        packet: &[u8],
    ) -> Vec<u8> {
        let mut body = interface.to_vec();
        let high = u32::try_from(ticks >> 32).expect("half of 64 bits");
        let low = u32::try_from(ticks & 0xffff_ffff).expect("half of 64 bits");
        for field in [high, low, lengths[0], lengths[1]] {
            body.extend(self.u32(field));
        }
        body.extend(packet);
        self.block(type_, &body)
    }

    pub(super) fn simple_packet(self, len: u32, packet: &[u8]) -> Vec<u8> {
        let mut body = self.u32(len).to_vec();
        body.extend(packet);
        self.block(3, &body)
    }
}
