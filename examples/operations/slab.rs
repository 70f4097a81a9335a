//! The slab of tcmalloc's front end: on each CPU an array of pointers to free objects, from which
//! they are handed out and to which they return, alone or many at once.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use rseq::PerCpu;

// Not `rseq::rseq`: the tests compile this file once more with sections that lose updates.
use super::rseq;

/// The most items that a CPU's slab holds.
pub const CAPACITY: usize = 64;

// `push_batch` has it as a literal, which takes no register: it needs all that there are.
const _: () = assert!(CAPACITY == 64);

/// A pointer has 2 to the power of this many bytes.
const POINTER: u32 = size_of::<usize>().trailing_zeros();

/// A stack of pointers, which the slab itself doesn't look behind.
pub struct Slab {
    /// How many there are: those in front of it.
    current: AtomicUsize,
    /// Items, of which those behind the current ones mean nothing: interrupted pushes left them.
    items: [AtomicPtr<u8>; CAPACITY],
}

impl Default for Slab {
    fn default() -> Self {
        Self { current: AtomicUsize::new(0), items: [const { AtomicPtr::new(ptr::null_mut()) }; CAPACITY] }
    }
}

impl Slab {
    /// Its items, once no section is on its way.
    pub fn items(&self) -> impl Iterator<Item = *mut u8> {
        // No more than there can be, even after sections that lose updates.
        let current = self.current.load(Relaxed).min(CAPACITY);
        self.items[..current].iter().map(|item| item.load(Relaxed))
    }
}

/// Puts an item into the CPU's slab. Says whether there was room.
pub fn push(slabs: &PerCpu<Slab>, item: *mut u8) -> bool {
    // SAFETY: the section stores below the capacity alone.
    unsafe {
        rseq! {
            critical |cpu| {
                let current = load(&slabs[cpu].current);
                if current >= CAPACITY { exit false }
                store(&slabs[cpu].items[current], item);
            }
            commit add(&slabs[cpu].current, 1)
            => true
        }
    }
}

/// Takes the latest item out of the CPU's slab, if there is one.
pub fn pop(slabs: &PerCpu<Slab>) -> Option<*mut u8> {
    // SAFETY: there are no more items than the capacity.
    unsafe {
        rseq! {
            critical |cpu| {
                let current = load(&slabs[cpu].current);
                if current == 0 { exit None }
                let last = current - 1;
                let item = load(&slabs[cpu].items[last]);
            }
            commit store(&slabs[cpu].current, last)
            => Some(item)
        }
    }
}

/// Puts as many of the items into the CPU's slab as there is room for, the first ones. Gives their
/// number.
pub fn push_batch(slabs: &PerCpu<Slab>, items: &[*mut u8]) -> usize {
    let (from, count) = (items.as_ptr(), items.len());
    // SAFETY: `moved` is no more than there are items, and no more than there is room.
    unsafe {
        rseq! {
            critical |cpu| {
                let current = load(&slabs[cpu].current);
                let room = 64 - current;
                // The lesser of `room` and `count`: `room`, less what it has above `count`, unless
                // that is negative, which its highest bit tells. (A count of 63 is taken modulo the
                // width.)
                let above = room - count;
                let negative = above >> 63;
                let mask = negative - 1;
                let spare = above & mask;
                let moved = room - spare;
                if moved == 0 { exit 0 }
                let bytes = moved << POINTER;
                copy(from, &raw mut slabs[cpu].items[current], bytes);
            }
            commit add(&slabs[cpu].current, moved)
            => moved
        }
    }
}

/// Takes as many items out of the CPU's slab as there are and the batch has room for, the latest
/// ones, in the order in which they lay there. Gives their number. The rest of the batch says
/// nothing.
pub fn pop_batch(slabs: &PerCpu<Slab>, batch: &mut [*mut u8]) -> usize {
    let (to, count) = (batch.as_mut_ptr(), batch.len());
    // SAFETY: `moved` is no more than the batch has room for, and no more than there are items.
    unsafe {
        rseq! {
            critical |cpu| {
                let current = load(&slabs[cpu].current);
                // The lesser of `current` and `count` as in `push_batch`; what is left over is what
                // stays.
                let above = current - count;
                let negative = above >> 63;
                let mask = negative - 1;
                let rest = above & mask;
                let moved = current - rest;
                if moved == 0 { exit 0 }
                let bytes = moved << POINTER;
                copy(&raw const slabs[cpu].items[rest], to, bytes);
            }
            commit store(&slabs[cpu].current, rest)
            => moved
        }
    }
}
