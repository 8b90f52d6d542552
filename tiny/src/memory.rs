//! The allocator: made for a program that takes its memory at the start and keeps it.
//!
//! What is small comes one behind the other from a chunk; what was taken last can be given back, all else stays until
//! the process ends. What is large is a mapping of its own, which grows in place or moves without a copy.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

const CHUNK: usize = 64 << 10;
/// From how many bytes on it is large. No chunk loses as much at its end.
const LARGE: usize = 16 << 10;
/// What a mapping is aligned to.
const PAGE: usize = 4 << 10;

/// What is left of the chunk.
struct Room {
    start: usize,
    end: usize,
}

/// The allocator.
pub struct Allocator(Mutex<Room>);

impl Allocator {
    /// It has nothing yet.
    pub const fn new() -> Self {
        Allocator(Mutex::new(Room { start: 0, end: 0 }))
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Null if the system has no memory.
fn map(size: usize) -> *mut u8 {
    let (readable, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory overlaps nothing.
    checked(unsafe { libc::mmap(ptr::null_mut(), size, readable, private, -1, 0) })
}

fn checked(mapped: *mut libc::c_void) -> *mut u8 {
    if mapped == libc::MAP_FAILED { ptr::null_mut() } else { mapped.cast() }
}

// SAFETY: a block is aligned and its own: it lies before the start of the room, which goes back only for the last block,
// or in a mapping of its own. The lock is held while the room changes.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE {
            return ptr::null_mut();
        }
        if layout.size() >= LARGE {
            return map(layout.size());
        }
        let mut room = self.room();
        let mut start = room.start.next_multiple_of(layout.align());
        if start + layout.size() > room.end {
            start = map(CHUNK).expose_provenance();
            if start == 0 {
                return ptr::null_mut();
            }
            room.end = start + CHUNK;
        }
        room.start = start + layout.size();
        ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            // SAFETY: it is a mapping of that size.
            unsafe { libc::munmap(block.cast(), layout.size()) };
            return;
        }
        let mut room = self.room();
        if block.addr() + layout.size() == room.start {
            room.start = block.addr();
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() >= LARGE && size >= LARGE {
            // SAFETY: it is a mapping of that size.
            return checked(unsafe { libc::mremap(block.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) });
        }
        // SAFETY: the caller says that neither is 0, and that the size is not too large for the alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both have so many bytes, and the old one is still there.
            unsafe {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}
