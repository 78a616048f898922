//! Frames in tunnels.

/// An Ethernet frame as VXLAN with this network identifier carries it.
pub fn in_vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    let udp_bytes = u16::try_from(16 + frame.len()).expect("a short frame");
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    packet.extend((20 + udp_bytes).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend((0xc000 | udp_bytes).to_be_bytes());
    packet.extend(4789u16.to_be_bytes());
    packet.extend(udp_bytes.to_be_bytes());
    packet.extend([0, 0, 8, 0, 0, 0]);
    packet.extend((vni << 8).to_be_bytes());
    packet.extend_from_slice(frame);
    packet
}

/// The frame behind a router: other addresses of Ethernet, a hop less to live, the checksum of the header to match.
pub fn a_hop_further(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 9, 2]);
    match frame[12..14] {
        [0x08, 0x00] => {
            frame[22] -= 1;
            frame[24..26].copy_from_slice(&[0, 0]);
            let sum = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            frame[24..26].copy_from_slice(&folded(sum).to_be_bytes());
        }
        [0x86, 0xdd] => frame[21] -= 1,
        _ => {}
    }
    frame
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
