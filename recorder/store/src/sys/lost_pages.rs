//! Pages of mapped files that cannot be read: the file was shortened, its disk has a bad block, or a network file system
//! has gone away.
//!
//! Reading such a page raises SIGBUS (mmap(2)), which would end the process. The handler here puts a page of zeros in its
//! place, notes that the map has lost it, and lets the thread go on. Code that reads a map checks afterwards for lost pages in
//! what it read, and discards it if there are any.
//!
//! **Obligations:** the handler takes no lock, allocates nothing and calls nothing but mmap(2): signal-safety(7). It notes a
//! loss before it replaces the page, so that nobody sees zeros that are not noted. It keeps errno.
//!
//! The table is the one global of the project: a signal handler has no other way to know anything.

use crate::locked;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock};

/// Maps at one time: Linux allows a process 65,530 (`vm.max_map_count`).
const MAPS_MAX: usize = 1 << 16;
/// Lost pages that are listed for each map. With one more, everything after it counts as lost.
const LOST_PAGES_LISTED_MAX: usize = 8;
/// Smallest page of any Linux; a larger one only makes more of the file count as lost.
const PAGE_BYTES_MIN: usize = 4096;

/// No offset.
const NONE: usize = usize::MAX;

/// One map.
struct MapSlot {
    start: AtomicUsize,
    /// Zero where the slot is free.
    end: AtomicUsize,
    /// Number of lost pages, including those beyond the listed ones.
    count: AtomicUsize,
    /// Offsets of lost pages.
    pages: [AtomicUsize; LOST_PAGES_LISTED_MAX],
    /// Offset from which on everything counts as lost.
    rest: AtomicUsize,
}

static SLOTS: [MapSlot; MAPS_MAX] = [const { MapSlot::free() }; MAPS_MAX];
/// Number of slots ever used: the handler looks at no others.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Slots below that are free again, lowest first.
static FREE: Mutex<BinaryHeap<Reverse<usize>>> = Mutex::new(BinaryHeap::new());
/// Pages lost in maps that others made.
static LOST_ELSEWHERE: AtomicU64 = AtomicU64::new(0);
/// The size of a page, for the handler.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(PAGE_BYTES_MIN);

impl MapSlot {
    /// A slot that has never been used: all zeros, so that the table takes no room in the program's file. [`Self::take`] sets every
    /// field.
    const fn free() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            pages: [const { AtomicUsize::new(0) }; LOST_PAGES_LISTED_MAX],
            rest: AtomicUsize::new(0),
        }
    }

    fn take(&self, start: usize, bytes: usize) {
        self.count.store(0, Ordering::Relaxed);
        self.pages.iter().for_each(|page| page.store(NONE, Ordering::Relaxed));
        self.rest.store(NONE, Ordering::Relaxed);
        self.start.store(start, Ordering::Release);
        self.end.store(start + bytes, Ordering::Release);
    }

    /// Notes that the page at this offset is lost, and returns the number of bytes from there on to replace.
    fn note(&self, offset: usize, page_bytes: usize) -> usize {
        let known = self.pages.iter().any(|page| page.load(Ordering::Relaxed) == offset);
        let number = match known {
            true => return page_bytes, // by another thread, a moment ago
            false => self.count.fetch_add(1, Ordering::SeqCst),
        };
        if let Some(page) = self.pages.get(number) {
            page.store(offset, Ordering::SeqCst);
            return page_bytes;
        }
        self.rest.fetch_min(offset, Ordering::SeqCst);
        let bytes = self.end.load(Ordering::Relaxed) - self.start.load(Ordering::Relaxed);
        (bytes - offset).next_multiple_of(page_bytes)
    }
}

/// A map whose lost pages are noted, until this is dropped.
#[derive(Debug)]
pub(super) struct WatchedMap {
    slot: usize,
}

impl WatchedMap {
    /// Watches a map of this many bytes. `None` where there are too many maps.
    pub(super) fn new(start: usize, bytes: usize) -> Option<Self> {
        install();
        let free = locked(&FREE).pop();
        let slot = match free {
            Some(Reverse(slot)) => slot,
            None => USED
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                    (used < MAPS_MAX).then_some(used + 1)
                })
                .ok()?,
        };
        let watched = Self { slot };
        watched.slot().take(start, bytes.next_multiple_of(PAGE_BYTES.load(Ordering::Relaxed)));
        Some(watched)
    }

    fn slot(&self) -> &'static MapSlot {
        &SLOTS[self.slot]
    }

    /// The first lost byte within the range.
    pub(super) fn first_lost(&self, range: &Range<usize>) -> Option<usize> {
        fence(Ordering::SeqCst); // what was read was read before this looks
        let slot = self.slot();
        if slot.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
        let pages = slot.pages.iter().map(|page| page.load(Ordering::SeqCst)).filter(|&page| page != NONE);
        let pages = pages.map(|page| page..page + page_bytes);
        let rest = slot.rest.load(Ordering::SeqCst)..NONE;
        let lost = pages.chain([rest]).filter(|lost| lost.start < range.end && range.start < lost.end);
        lost.map(|lost| lost.start.max(range.start)).min()
    }
}

impl Drop for WatchedMap {
    fn drop(&mut self) {
        self.slot().end.store(0, Ordering::Release);
        locked(&FREE).push(Reverse(self.slot));
    }
}

/// Counts the pages that were lost in maps of other libraries, over the life of the process. Whoever reads files through
/// such a library compares the counts before and after.
pub fn pages_lost_elsewhere() -> u64 {
    install();
    fence(Ordering::SeqCst);
    LOST_ELSEWHERE.load(Ordering::SeqCst)
}

/// Installs the handler, once.
fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: sysconf(3) has no obligations.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE_BYTES.store(usize::try_from(page_bytes).unwrap_or(PAGE_BYTES_MIN), Ordering::SeqCst);
        // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask); the handler has the signature that
        // SA_SIGINFO asks for and keeps to signal-safety(7). It runs on the stack of the thread, or on the one that the
        // thread has set up for signals.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        }
    });
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo to a handler with SA_SIGINFO, and for SIGBUS it has an address. errno is the
    // thread's own. Setting the default action is allowed here; the instruction then runs again and ends the process.
    unsafe {
        let errno = *libc::__errno_location();
        let is_page = (*info).si_code == libc::BUS_ADRERR;
        let is_replaced = is_page && replace((*info).si_addr() as usize);
        if !is_replaced {
            libc::signal(signal, libc::SIG_DFL);
        }
        *libc::__errno_location() = errno;
    }
}

/// Notes a lost page and puts zeros in its place; false where that cannot be done.
fn replace(address: usize) -> bool {
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let page = address / page_bytes * page_bytes;
    let used = USED.load(Ordering::SeqCst).min(MAPS_MAX);
    let slot = SLOTS.iter().take(used).find(|slot| {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        (start..end).contains(&page)
    });
    let bytes = match slot {
        Some(slot) => slot.note(page - slot.start.load(Ordering::Relaxed), page_bytes),
        None => {
            LOST_ELSEWHERE.fetch_add(1, Ordering::SeqCst);
            page_bytes
        }
    };
    // SAFETY: the pages belong to a file's map, since the kernel has just failed to fetch the first of them from its file, and
    // a slot's range is that of one map; they can be read and nothing else, as the map could, and go with it.
    let placed = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            bytes,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    placed != libc::MAP_FAILED
}
