//! A packet socket with a TPACKET_V3 ring: packet(7), and Documentation/networking/packet_mmap.rst of the kernel.

use std::ffi::{CStr, c_int, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// One instruction of a classic BPF program: code, jump if true, jump if false, operand.
pub type SockFilter = (u16, u8, u8, u32);

/// Offsets of the fields of a block: `struct tpacket_block_desc`.
mod block_field {
    pub const STATUS: usize = 8;
    pub const PACKETS: usize = 12;
    pub const FIRST_PACKET: usize = 16;
}

/// Framing of delivered frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With the link-layer header.
    Raw,
    /// Without it; the ring carries the fields known from it.
    Cooked,
}

/// `struct tpacket_stats_v3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Packets that arrived, drops included.
    pub packets: u32,
    /// Packets that were dropped.
    pub drops: u32,
    /// Number of times that there was no free block.
    pub freezes: u32,
}

/// The ring's memory, in blocks that the kernel fills one after another.
struct Ring {
    memory: MmapRaw,
    block_bytes: usize,
    blocks: usize,
    next: usize,
}

impl Ring {
    /// The word that hands a block from the kernel to us and back.
    fn status(&self, at: usize) -> &AtomicU32 {
        assert!(at < self.blocks, "there is no such block");
        // SAFETY: the block lies in the mapping, which lives as long as the borrow of `self`. The word is aligned, and is
        // only ever accessed atomically.
        unsafe {
            let block = self.memory.as_mut_ptr().add(at * self.block_bytes);
            AtomicU32::from_ptr(block.add(block_field::STATUS).cast())
        }
    }

    fn is_filled(&self, at: usize) -> bool {
        self.status(at).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }
}

/// A packet socket. It receives nothing before [`Self::bind`].
pub(crate) struct PacketSocket {
    fd: OwnedFd,
    ring: Option<Ring>,
}

/// A packet socket that has been opened, perhaps by another process.
impl From<OwnedFd> for PacketSocket {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, ring: None }
    }
}

/// A socket without a ring.
impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.fd
    }
}

/// A filled block of the ring, ours until dropped. While we hold the block that the kernel needs next, it drops every packet:
/// copy the packets out and drop it.
pub(crate) struct RingBlock<'a> {
    status: &'a AtomicU32,
    /// The block from its packet count on.
    body: &'a [u8],
}

impl RingBlock<'_> {
    /// Packets in the block.
    pub fn packets(&self) -> u32 {
        self.word(block_field::PACKETS)
    }

    /// Offset of the first packet's header in the block.
    pub fn first_packet(&self) -> usize {
        self.word(block_field::FIRST_PACKET) as usize
    }

    fn word(&self, offset: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(self.bytes(offset, 4).unwrap_or(&[0; 4]));
        u32::from_ne_bytes(word)
    }

    /// `length` bytes from `offset` of the block; `None` beyond its end.
    #[inline]
    pub fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let start = offset.checked_sub(block_field::PACKETS)?;
        self.body.get(start..start.checked_add(length)?)
    }
}

impl Drop for RingBlock<'_> {
    fn drop(&mut self) {
        self.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[expect(clippy::cast_possible_truncation, reason = "the options' structures are a few bytes long")]
const fn option_bytes<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

impl PacketSocket {
    /// Opens a socket that receives nothing yet. Needs CAP_NET_RAW.
    pub fn open(framing: Framing) -> io::Result<Self> {
        let kind = match framing {
            Framing::Raw => libc::SOCK_RAW,
            Framing::Cooked => libc::SOCK_DGRAM,
        };
        // SAFETY: no pointers. Protocol 0: nothing is received before `bind` names one.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: `fd` was opened just now and belongs to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
    }

    /// Sets an option. `T` is the plain structure that it takes.
    fn set<T: Copy>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let pointer = std::ptr::from_ref(value).cast::<c_void>();
        // SAFETY: `pointer` is valid for the length given, and the kernel only reads it.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, pointer, option_bytes::<T>()) })?;
        Ok(())
    }

    /// Reads an option. `T` is the plain structure, of integers only, that it fills.
    fn get<T: Copy + Default>(&self, level: c_int, option: c_int) -> io::Result<T> {
        let mut value = T::default();
        let mut length = option_bytes::<T>();
        let pointer = std::ptr::from_mut(&mut value).cast::<c_void>();
        // SAFETY: `pointer` is valid for `length` bytes, which the kernel does not exceed; any bytes are a `T`.
        check(unsafe { libc::getsockopt(self.fd.as_raw_fd(), level, option, pointer, &raw mut length) })?;
        Ok(value)
    }

    /// Sets up and maps the ring. After `retire_ms`, the kernel hands over a block even if it is not full.
    pub fn map_ring(&mut self, block_bytes: u32, blocks: u32, retire_ms: u32) -> io::Result<()> {
        const FRAME_BYTES: u32 = 2048; // only checked against the block: TPACKET_V3 packs packets of any length
        let version = libc::tpacket_versions::TPACKET_V3 as c_int;
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        let request = libc::tpacket_req3 {
            tp_block_size: block_bytes,
            tp_block_nr: blocks,
            tp_frame_size: FRAME_BYTES,
            tp_frame_nr: block_bytes / FRAME_BYTES * blocks,
            tp_retire_blk_tov: retire_ms,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (block_bytes, blocks) = (block_bytes as usize, blocks as usize);
        let memory = MmapOptions::new().len(block_bytes * blocks).map_raw(&self.fd)?;
        self.ring = Some(Ring { memory, block_bytes, blocks, next: 0 });
        Ok(())
    }

    /// The next block that the kernel has filled.
    pub fn take_block(&mut self) -> Option<RingBlock<'_>> {
        let ring = self.ring.as_mut()?;
        let at = ring.next;
        if !ring.is_filled(at) {
            return None;
        }
        ring.next = (at + 1) % ring.blocks;
        let (begin, length) =
            (at * ring.block_bytes + block_field::PACKETS, ring.block_bytes - block_field::PACKETS);
        // SAFETY: `at` is less than `blocks`, so the block lies in the mapping, which lives as long as the borrow of `self`
        // that the result carries. The kernel has handed the block over (the load in `is_filled` acquired its writes) and
        // leaves it alone until the status is stored in `RingBlock::drop`; `self` stays borrowed until then, so nobody
        // takes it twice. The slice begins after the status word.
        let body = unsafe { std::slice::from_raw_parts(ring.memory.as_ptr().add(begin), length) };
        Some(RingBlock { status: ring.status(at), body })
    }

    /// Number of filled blocks that have not been taken. They are consecutive, so their end is found by galloping and then binary
    /// search: an empty ring costs one look, one of 256 blocks 16 at most.
    pub fn filled_blocks(&self) -> u32 {
        let Some(ring) = &self.ring else { return 0 };
        let is_filled = |ahead: usize| ring.is_filled((ring.next + ahead) % ring.blocks);
        let mut step = 1;
        while step <= ring.blocks && is_filled(step - 1) {
            step *= 2;
        }
        let (mut filled, mut end) = (step / 2, (step - 1).min(ring.blocks));
        while filled < end {
            let middle = usize::midpoint(filled, end);
            if is_filled(middle) {
                filled = middle + 1;
            } else {
                end = middle;
            }
        }
        u32::try_from(filled).unwrap_or(u32::MAX)
    }

    /// Waits until a block is filled or an error occurs; false if neither happened within `patience`.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN | PollFlags::ERR)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The error that the kernel noted on the socket, if any; it is returned once.
    pub fn take_error(&self) -> io::Result<()> {
        Ok(rustix::net::sockopt::socket_error(&self.fd)??)
    }

    /// Makes the kernel run the program over every packet, and keep as many bytes as that returns.
    pub fn attach_filter(&self, program: &[SockFilter]) -> io::Result<()> {
        let mut instructions: Vec<libc::sock_filter> =
            program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
        let len = u16::try_from(instructions.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Makes the kernel accept every packet again.
    pub fn detach_filter(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)
    }

    /// Starts receiving from an interface.
    pub fn bind(&self, interface: u32) -> io::Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "ETH_P_ALL is 3")]
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
            sll_protocol: protocol,
            sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let pointer = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
        // SAFETY: `pointer` is valid for the length given, and the kernel only reads it.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), pointer, option_bytes::<libc::sockaddr_ll>()) })?;
        Ok(())
    }

    /// Puts the interface into promiscuous mode, as long as the socket is open.
    pub fn promiscuous(&self, interface: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
            mr_type: u16::try_from(libc::PACKET_MR_PROMISC).unwrap_or_default(),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Ignores packets that the machine itself sends.
    pub fn ignore_outgoing(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
    }

    /// Shares the interface's packets with the other sockets of the group, each conversation going to one of them. Without a
    /// group, a new one is created; its number is returned.
    pub fn join_fanout(&self, group: Option<u16>, ignores_outgoing: bool) -> io::Result<u16> {
        // Not PACKET_FANOUT_FLAG_DEFRAG: it would hand over reassembled datagrams in the place of what was received.
        let mut kind = libc::PACKET_FANOUT_HASH;
        if group.is_none() {
            kind |= libc::PACKET_FANOUT_FLAG_UNIQUEID;
        }
        if ignores_outgoing {
            kind |= libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        }
        let request = u32::from(group.unwrap_or(0)) | (kind << 16);
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &request)?;
        let joined: u32 = self.get(libc::SOL_PACKET, libc::PACKET_FANOUT)?;
        Ok((joined & 0xffff) as u16)
    }

    /// Counters of the kernel since the last call.
    pub fn take_statistics(&self) -> io::Result<Statistics> {
        let [packets, drops, freezes]: [u32; 3] = self.get(libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        Ok(Statistics { packets, drops, freezes })
    }

    /// Turns on the interface's own timestamps, if its driver offers them for all packets; false if it does not. Needs
    /// CAP_NET_ADMIN.
    pub fn turn_on_timestamps(&self, interface: &str) -> io::Result<bool> {
        const ETHTOOL_GET_TS_INFO: u32 = 0x41;
        const RX_FILTER_ALL: u32 = 1;
        // `struct ethtool_ts_info`: command, capabilities, clock, transmit types and 3 reserved, receive filters and 3.
        let mut info = [0u32; 11];
        info[0] = ETHTOOL_GET_TS_INFO;
        if self.interface_call(interface, libc::SIOCETHTOOL, &mut info).is_err() {
            return Ok(false);
        }
        let offers =
            info[1] & libc::SOF_TIMESTAMPING_RAW_HARDWARE != 0 && info[7] & (1 << RX_FILTER_ALL) != 0;
        // `struct hwtstamp_config`: flags, transmit type, receive filter.
        let mut wanted = [0, 0, RX_FILTER_ALL];
        Ok(offers && self.interface_call(interface, libc::SIOCSHWTSTAMP, &mut wanted).is_ok())
    }

    /// Receives packets with the interface's timestamps, which have been turned on.
    pub fn use_hardware_timestamps(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_TIMESTAMP, &libc::SOF_TIMESTAMPING_RAW_HARDWARE)
    }

    /// Makes an ioctl(2) on an interface whose argument is reached through `ifr_data`.
    fn interface_call<const N: usize>(
        &self,
        interface: &str,
        request: c_ulong,
        argument: &mut [u32; N],
    ) -> io::Result<()> {
        let mut ifreq = named(interface)?;
        ifreq.ifr_ifru.ifru_data = argument.as_mut_ptr().cast();
        self.ioctl(request, &mut ifreq)
    }

    fn ioctl(&self, request: c_ulong, ifreq: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the request takes a `struct ifreq`, which is valid; where it goes on through `ifr_data`, that points to
        // an array of the length of the request's structure, alive during the call.
        check(unsafe { libc::ioctl(self.fd.as_raw_fd(), request as _, std::ptr::from_mut(ifreq)) })?;
        Ok(())
    }

    /// The kind of the interface's link layer: an ARPHRD_ number.
    pub fn hardware_type(&self, interface: &str) -> io::Result<u16> {
        let mut ifreq = named(interface)?;
        self.ioctl(libc::SIOCGIFHWADDR, &mut ifreq)?;
        // SAFETY: SIOCGIFHWADDR fills `ifr_hwaddr`.
        Ok(unsafe { ifreq.ifr_ifru.ifru_hwaddr.sa_family })
    }

    /// True if the interface is up.
    pub fn is_up(&self, interface: &str) -> io::Result<bool> {
        let mut ifreq = named(interface)?;
        self.ioctl(libc::SIOCGIFFLAGS, &mut ifreq)?;
        // SAFETY: SIOCGIFFLAGS fills `ifr_flags`.
        let flags = unsafe { ifreq.ifr_ifru.ifru_flags };
        Ok(c_int::from(flags) & libc::IFF_UP != 0)
    }

    /// The interface that the kernel has the socket on: 0 for all of them, none where it took it off.
    pub fn bound_interface(&self) -> io::Result<Option<u32>> {
        // SAFETY: `sockaddr_ll` is of integers that may all be zero.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = option_bytes::<libc::sockaddr_ll>();
        let pointer = std::ptr::from_mut(&mut address).cast::<libc::sockaddr>();
        // SAFETY: `pointer` is valid for `length` bytes, which the kernel does not exceed.
        check(unsafe { libc::getsockname(self.fd.as_raw_fd(), pointer, &raw mut length) })?;
        Ok(u32::try_from(address.sll_ifindex).ok())
    }
}

#[cfg(test)]
impl PacketSocket {
    /// Sends a frame out of the interface that the socket is bound to.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.fd, frame)?;
        Ok(())
    }
}

/// A request about an interface.
fn named(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is of integers and pointers that may all be zero.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= ifreq.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in ifreq.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    Ok(ifreq)
}

/// Names of the machine's interfaces.
pub(crate) fn interface_names() -> Vec<String> {
    // SAFETY: returns an array that ends with an entry whose name is null, or null.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut entry = list;
    // SAFETY: every entry up to the last is valid, and its name is a string that ends with a zero byte.
    unsafe {
        while !(*entry).if_name.is_null() {
            names.push(CStr::from_ptr((*entry).if_name).to_string_lossy().into_owned());
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
    }
    names
}
