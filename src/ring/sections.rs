//! The sections of a ring, and what they work on: pushes. (Its drainer needs none.)

use core::sync::atomic::AtomicUsize;

use super::super::cells::Cells;
use super::{PerCpu, rseq};

/// The items of a CPU: from `head` to in front of `tail`, both counted without end and taken modulo
/// `N`.
#[repr(C)]
pub struct Track<T, const N: usize> {
    /// The number of the item that is pushed next: the sections'.
    pub tail: AtomicUsize,
    /// The number of the item that is taken next: the drainer's.
    pub head: AtomicUsize,
    /// Cells, of which those elsewhere mean nothing: interrupted pushes leave theirs there.
    pub items: Cells<T, N>,
}

/// Puts an item that travels as a word behind the CPU's others. Says whether there was room.
#[inline(always)]
pub fn push_word<T, const N: usize>(tracks: &PerCpu<Track<T, N>>, word: *mut ()) -> bool {
    let mask = N - 1;
    // SAFETY: the mask keeps the place below the number of items, and what is there was taken,
    // because fewer than `N` weren't.
    unsafe {
        rseq! {
            critical |cpu| {
                let tail = load(&tracks[cpu].tail);
                let head = load(&tracks[cpu].head);
                let used = tail - head;
                if used > mask { exit false }                        // full
                let at = tail & mask;
                store(&raw mut tracks[cpu].items[at].word, word);
                let next = tail + 1;
            }
            commit store_release(&tracks[cpu].tail, next)
            => true
        }
    }
}

/// Copies an item behind the CPU's others. Says whether there was room; if so, the item is the
/// ring's.
///
/// # Safety
/// There is an item.
#[inline(always)]
pub unsafe fn push_copy<T, const N: usize>(tracks: &PerCpu<Track<T, N>>, item: *const T) -> bool {
    let (mask, bytes) = (N - 1, size_of::<T>());
    // SAFETY: as of `push_word`; the item is there by the caller's promise.
    unsafe {
        rseq! {
            critical |cpu| {
                let tail = load(&tracks[cpu].tail);
                let head = load(&tracks[cpu].head);
                let used = tail - head;
                if used > mask { exit false }                        // full
                let at = tail & mask;
                copy(item, &raw mut tracks[cpu].items[at].item, bytes);
                let next = tail + 1;
            }
            commit store_release(&tracks[cpu].tail, next)
            => true
        }
    }
}
