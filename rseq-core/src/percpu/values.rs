//! The values of a [`PerCpu`](super::PerCpu), from their memory to their drop.

use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

#[cfg(all(unix, not(miri)))]
use super::arena as memory;
use super::error::AllocError;
#[cfg(not(all(unix, not(miri))))]
use super::heap as memory;
use crate::cpu::slots;

/// Where the slots of each kind of index lie: [`ARENA`](crate::cpu::IndexKind::ARENA).
pub(super) static ARENAS: [memory::Arena; 2] = [const { memory::Arena::new() }; 2];

/// The slot that this address lies in: its arena and index. `None` if it lies in none, or where
/// nobody knows. Takes no lock, and may be asked in a handler.
pub(crate) fn slot_at(address: usize) -> Option<(usize, usize)> {
    ARENAS.iter().enumerate().find_map(|(arena, memory)| Some((arena, memory.index_of(address)?)))
}

/// The distance in bytes from one slot to the next.
#[must_use]
pub const fn slot_bytes<T>() -> usize {
    memory::stride::<T>()
}

/// The same as a power of two, for windows: wherever there are any, the distance is one.
#[must_use]
pub const fn slot_power<T>() -> u32 {
    assert!(slot_bytes::<T>().is_power_of_two());
    slot_bytes::<T>().trailing_zeros()
}

/// Values of so many bytes are made of zeroes alone: others are made on the stack, and no thread
/// has one for them, nor has every machine code for it.
pub(super) const TOO_LARGE_TO_MAKE: usize = 1 << 30;

/// Refuses such values where they aren't of zeroes.
#[track_caller]
pub(super) const fn can_be_made<T>() {
    assert!(size_of::<T>() < TOO_LARGE_TO_MAKE, "values of 1 GiB and more are made of zeroes alone: `PerCpu::zeroed`");
}

/// The slot of this index.
///
/// # Safety
/// `first` is the slot 0, and the index is below [`slots`].
#[inline(always)]
pub(super) unsafe fn slot<T>(first: NonNull<T>, index: usize) -> NonNull<T> {
    // SAFETY: the caller's.
    unsafe { first.byte_add(index * slot_bytes::<T>()) }
}

/// Memory for all slots, of which the first `made` hold a value. Drops them.
pub(super) struct Values<T> {
    pub(super) arena: usize,
    pub(super) first: NonNull<T>,
    pub(super) made: usize,
}

impl<T> Values<T> {
    /// Memory of zeroes.
    fn memory(arena: usize) -> Result<Self, AllocError> {
        const { assert!(align_of::<T>() <= 4096, "a PerCpu holds no type aligned to more than a page") };
        let first = ARENAS[arena].allocate(Layout::new::<T>())?.cast();
        Ok(Self { arena, first, made: 0 })
    }

    /// # Safety
    /// A `T` may consist of zeroes alone.
    pub(super) unsafe fn zeroed(arena: usize) -> Result<Self, AllocError> {
        let mut values = Self::memory(arena)?;
        values.made = slots();
        Ok(values)
    }

    /// Values are made on the stack. Those of zeroes alone, which may be large, aren't, so this
    /// mustn't become a part of a function that has the choice.
    #[inline(never)]
    pub(super) fn make(arena: usize, mut make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        let mut values = Self::memory(arena)?;
        while values.made < slots() {
            let value = ManuallyDrop::new(make(values.made));
            // SAFETY: a slot's memory, which is zero; the value is used no more. A panic in `make`
            // drops those before.
            unsafe { memory::put(slot(values.first, values.made), &raw const *value) };
            values.made += 1;
        }
        Ok(values)
    }

    pub(super) fn keep(self) -> NonNull<T> {
        let first = self.first;
        core::mem::forget(self);
        first
    }
}

impl<T> Drop for Values<T> {
    /// If the drop of a value panics, the others are dropped on the way out, as of a slice.
    fn drop(&mut self) {
        let memory = Memory { arena: self.arena, first: self.first };
        let mut rest = Rest(self.first, 0..self.made);
        rest.drop_each();
        drop(rest);
        drop(memory);
    }
}

/// Values that are to be dropped: those of these slots.
struct Rest<T>(NonNull<T>, core::ops::Range<usize>);

impl<T> Rest<T> {
    fn drop_each(&mut self) {
        for index in self.1.by_ref() {
            // SAFETY: its maker's: the slot holds a value, and nobody else refers to it.
            unsafe { slot(self.0, index).drop_in_place() };
        }
    }
}

impl<T> Drop for Rest<T> {
    fn drop(&mut self) {
        self.drop_each();
    }
}

/// Memory that is to be given back.
struct Memory<T> {
    arena: usize,
    first: NonNull<T>,
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: its maker's: it was allocated for a type of this layout, and is in use no more.
        unsafe { memory::free(&ARENAS[self.arena], self.first.cast(), Layout::new::<T>()) };
    }
}
