//! Address space for slots.

use core::ptr::{NonNull, null_mut};

use super::{RESERVED, lock_what_is_touched, refuse_huge_pages, roots, unmap};

/// Address space, of zeroes, which has memory behind it only where it is touched; `None` if the
/// system refuses. It isn't from an allocator, which may be the caller.
pub(crate) fn reserve(length: usize) -> Option<NonNull<u8>> {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | RESERVED;
    // As long as nobody can access it, no page of it is made for being locked.
    // SAFETY: new memory wherever the kernel likes.
    let memory = unsafe { libc::mmap(null_mut(), length, libc::PROT_NONE, kind, -1, 0) };
    let memory = NonNull::new(memory.cast::<u8>()).filter(|_| memory != libc::MAP_FAILED)?;
    lock_what_is_touched(memory, length);
    refuse_huge_pages(memory, length);
    // SAFETY: mapped above, and nobody else knows of it.
    unsafe {
        if libc::mprotect(memory.as_ptr().cast(), length, libc::PROT_READ | libc::PROT_WRITE) != 0 {
            unmap(memory, length);
            return None;
        }
    }
    roots::add(memory, length);
    Some(memory)
}

/// Gives address space back.
///
/// # Safety
/// It is [`reserve`]'s, of the same length, and in use no more.
pub(crate) unsafe fn unreserve(memory: NonNull<u8>, length: usize) {
    // SAFETY: the caller's.
    unsafe {
        roots::remove(memory, length);
        unmap(memory, length);
    }
}
