//! Network interfaces by name and number.

use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send, socket_with,
};

/// The longest name that ioctl(2) takes, without its zero byte; alternative names may be longer.
const SHORT_NAME_BYTES_MAX: usize = 15;

/// Messages of rtnetlink(7): linux/rtnetlink.h.
mod rtnetlink {
    pub const HEADER_BYTES: usize = 16;
    /// `struct nlmsghdr` and `struct ifinfomsg`.
    pub const LINK_BYTES: usize = HEADER_BYTES + 16;
    pub const NEW_LINK: u16 = 16;
    pub const GET_LINK: u16 = 18;
    pub const REQUEST: u16 = 1;
    pub const ALTERNATIVE_NAME: u16 = 53;
    /// Of a message: its kind.
    pub const KIND: std::ops::Range<usize> = 4..6;
    /// Of an answer about a link: its number.
    pub const NUMBER: std::ops::Range<usize> = HEADER_BYTES + 4..HEADER_BYTES + 8;
}

/// The number of an interface, by its name or one of its alternative names.
pub(crate) fn number_of(name: &str) -> io::Result<u32> {
    if name.len() > SHORT_NAME_BYTES_MAX {
        return number_of_long(name);
    }
    Ok(netdevice::name_to_index(asking()?, name)?)
}

/// The name of the interface with this number.
pub(crate) fn name_of(number: u32) -> io::Result<String> {
    Ok(netdevice::index_to_name(asking()?, number)?)
}

fn asking() -> io::Result<rustix::fd::OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

fn number_of_long(name: &str) -> io::Result<u32> {
    let no_such = || io::Error::from_raw_os_error(libc::ENODEV);
    let too_long = |_| no_such();
    let padded = name.len() + 1 + (4 - (name.len() + 1) % 4) % 4;
    let attribute_bytes = u16::try_from(4 + name.len() + 1).map_err(too_long)?;
    let total = u32::try_from(rtnetlink::LINK_BYTES + 4 + padded).map_err(too_long)?;
    let mut request = Vec::new();
    request.extend(total.to_ne_bytes());
    request.extend(rtnetlink::GET_LINK.to_ne_bytes());
    request.extend(rtnetlink::REQUEST.to_ne_bytes());
    request.resize(rtnetlink::LINK_BYTES, 0);
    request.extend(attribute_bytes.to_ne_bytes());
    request.extend(rtnetlink::ALTERNATIVE_NAME.to_ne_bytes());
    request.extend(name.as_bytes());
    request.resize(rtnetlink::LINK_BYTES + 4 + padded, 0);

    // NETLINK_ROUTE has the number 0 among netlink's protocols.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request, SendFlags::empty())?;
    // The kernel has answered by the time that the request is sent.
    let mut answer = [0; 1 << 14];
    let (bytes, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    let answer = answer.get(..bytes).unwrap_or_default();
    let kind = answer.get(rtnetlink::KIND).ok_or_else(no_such)?;
    let number = answer.get(rtnetlink::NUMBER).and_then(|bytes| bytes.first_chunk()).ok_or_else(no_such)?;
    match kind == rtnetlink::NEW_LINK.to_ne_bytes() {
        true => Ok(u32::from_ne_bytes(*number)),
        false => Err(no_such()),
    }
}
