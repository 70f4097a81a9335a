//! The sections of a stack, and what they work on.

use core::sync::atomic::AtomicUsize;

use super::super::cells::Cells;
use super::{PerCpu, rseq};

/// The items of a CPU.
#[repr(C)]
pub struct Shelf<T, const N: usize> {
    /// How many there are: those in front of it. Or a mark of the drain protocol.
    pub len: AtomicUsize,
    /// Cells, of which those behind the items mean nothing: interrupted pushes leave theirs there.
    pub items: Cells<T, N>,
}

/// Puts an item that travels as a word onto the CPU's shelf. Says whether there was room.
#[inline(always)]
pub fn push_word<T, const N: usize>(shelves: &PerCpu<Shelf<T, N>>, word: *mut ()) -> bool {
    // SAFETY: stores below the number of items alone.
    unsafe {
        rseq! {
            critical |cpu| {
                let len = load(&shelves[cpu].len);
                if len >= N { exit false }                          // full, or stopped
                store(&raw mut shelves[cpu].items[len].word, word);
                let longer = len + 1;
            }
            commit store_release(&shelves[cpu].len, longer)
            => true
        }
    }
}

/// Takes the latest item off the CPU's shelf, as a word.
#[inline(always)]
pub fn pop_word<T, const N: usize>(shelves: &PerCpu<Shelf<T, N>>) -> Option<*mut ()> {
    // SAFETY: loads below the number of items alone.
    unsafe {
        rseq! {
            critical |cpu| {
                let len = load(&shelves[cpu].len);
                let last = len - 1;
                if last >= N { exit None }                          // empty, or stopped
                let word = load(&raw mut shelves[cpu].items[last].word);
            }
            commit store(&shelves[cpu].len, last)
            => Some(word)
        }
    }
}

/// Copies an item onto the CPU's shelf. Says whether there was room; if so, the item is the
/// stack's.
///
/// # Safety
/// There is an item.
#[inline(always)]
pub unsafe fn push_copy<T, const N: usize>(shelves: &PerCpu<Shelf<T, N>>, item: *const T) -> bool {
    // SAFETY: stores below the number of items alone; the item is there by the caller's promise.
    unsafe {
        rseq! {
            critical |cpu| {
                let len = load(&shelves[cpu].len);
                if len >= N { exit false }                          // full, or stopped
                copy(item, &raw mut shelves[cpu].items[len].item, size_of::<T>());
                let longer = len + 1;
            }
            commit store_release(&shelves[cpu].len, longer)
            => true
        }
    }
}

/// Copies the latest item off the CPU's shelf. Says whether there was one; if so, it is the
/// caller's.
///
/// # Safety
/// There is room for an item.
#[inline(always)]
pub unsafe fn pop_copy<T, const N: usize>(shelves: &PerCpu<Shelf<T, N>>, room: *mut T) -> bool {
    // SAFETY: loads below the number of items alone; there is room by the caller's promise.
    unsafe {
        rseq! {
            critical |cpu| {
                let len = load(&shelves[cpu].len);
                let last = len - 1;
                if last >= N { exit false }                         // empty, or stopped
                copy(&raw const shelves[cpu].items[last].item, room, size_of::<T>());
            }
            commit store(&shelves[cpu].len, last)
            => true
        }
    }
}
