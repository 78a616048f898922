//! Frames in VXLAN, as a virtual switch mirrors them.

const VXLAN_PORT: u16 = 4789;
/// The first of the network identifiers.
const VNI_FIRST: u32 = 5000;
/// Bytes of UDP and VXLAN in front of a frame.
const UDP_AND_VXLAN_BYTES: usize = 16;

/// Writes the frame to `packet`, in VXLAN with the identifier of this network. The source port depends on the flow, as
/// RFC 7348 recommends: it is 49152 or higher.
pub(crate) fn wrap(packet: &mut Vec<u8>, network: u32, flow: u16, frame: &[u8]) {
    #[expect(clippy::cast_possible_truncation, reason = "frames are short")]
    let udp_bytes = (UDP_AND_VXLAN_BYTES + frame.len()) as u16;
    packet.clear();
    packet.extend_from_slice(&[2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 0x08, 0x00, 0x45, 0]);
    packet.extend_from_slice(&(20 + udp_bytes).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend_from_slice(&(flow | 0xc000).to_be_bytes());
    packet.extend_from_slice(&VXLAN_PORT.to_be_bytes());
    packet.extend_from_slice(&udp_bytes.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x08, 0, 0, 0]);
    packet.extend_from_slice(&((VNI_FIRST + network) << 8).to_be_bytes());
    packet.extend_from_slice(frame);
}
