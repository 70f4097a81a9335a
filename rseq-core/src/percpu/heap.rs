//! Memory for slots from the allocator, where there is no address space to reserve: each slot on
//! cache lines of its own.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

use super::error::AllocError;
use crate::cpu::slots;

/// Two lines, because processors fetch them in pairs.
const LINES: usize = 128;

/// The distance in bytes from one slot to the next.
pub(super) const fn stride<T>() -> usize {
    let align = if align_of::<T>() > LINES { align_of::<T>() } else { LINES };
    let lines = size_of::<T>().next_multiple_of(align);
    if lines == 0 { align } else { lines }
}

/// Nothing: the allocator has it all.
#[derive(Debug)]
pub struct Arena(());

impl Arena {
    pub(crate) const fn new() -> Self {
        Self(())
    }

    /// Memory of zeroes for a value of this layout in each slot: the address of the first, from
    /// which the others are a [`stride`] apart.
    pub(super) fn allocate(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let all = all_slots(layout).ok_or(AllocError { bytes: usize::MAX })?;
        // SAFETY: a slot has a size of 128 bytes at least.
        NonNull::new(unsafe { alloc_zeroed(all) }).ok_or(AllocError { bytes: all.size() })
    }

    /// Whose slot an address is in isn't known here.
    pub(super) fn index_of(&self, _address: usize) -> Option<usize> {
        None
    }
}

fn all_slots(layout: Layout) -> Option<Layout> {
    let slot = layout.align_to(LINES).ok()?.pad_to_align();
    Layout::from_size_align(slot.size().max(slot.align()).checked_mul(slots())?, slot.align()).ok()
}

/// Gives memory back.
///
/// # Safety
/// It is [`Arena::allocate`]'s for the same layout, and in use no more.
pub(super) unsafe fn free(_: &Arena, memory: NonNull<u8>, layout: Layout) {
    let all = all_slots(layout).expect("it was that much when it was allocated");
    // SAFETY: the caller's.
    unsafe { dealloc(memory.as_ptr(), all) };
}

/// Moves a value into a slot's memory.
///
/// # Safety
/// The memory is a slot's. The value is used no more.
pub(super) unsafe fn put<T>(memory: NonNull<T>, value: *const T) {
    // SAFETY: the caller's.
    unsafe { memory.as_ptr().copy_from_nonoverlapping(value, 1) };
}

#[cfg(test)]
mod tests {
    use core::alloc::Layout;

    use super::Arena;

    #[test]
    fn too_much_is_an_error() {
        let layout = Layout::from_size_align(isize::MAX as usize & !127, 8).unwrap();
        assert_eq!(
            Arena::new().allocate(layout).unwrap_err().bytes(),
            usize::MAX,
            "the size of all slots is no number"
        );
    }
}
