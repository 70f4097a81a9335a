//! Stacks of free objects, one per CPU: arrays of pointers that nobody looks behind.
//!
//! The sections keep the rules of [`rseq::drain`]: each loads the number of objects in its window, takes a stopped one (which is huge) for a stack that is full or has too few,
//! and commits by storing a number that it computed. Comparisons are with what the stack would be left with, so one of them does for both.
//!
//! # Order
//!
//! What a thread wrote to an object before it freed it is to be seen by whoever has it next. Through the stack of one CPU that is a thread on the same CPU, and the kernel's switch
//! from one to the other is a barrier (in portable mode, the stack's lock). From CPU to CPU objects come in two ways only: by the program, which has them synchronised then, and by
//! [`Stack::drain`], whose fence interrupts that CPU or finds that the kernel has switched there.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use rseq::drain::StopError;
use rseq::{CpuId, PerCpu};

// Not those of `rseq`: the tests compile this file once more with sections that lose updates, and with a drain that stops nobody.
use super::{drain, rseq};

/// The most objects that a stack holds.
pub const CAPACITY: usize = 255;
/// So many objects at once are taken from the backend and given back.
pub const BATCH: usize = 32;
const BATCH_BYTES: usize = size_of::<[*mut u8; BATCH]>();

/// Objects on their way.
pub type Batch = [*mut u8; BATCH];

/// The free objects of a class on one CPU.
pub struct Stack {
    /// How many there are: those in front of it.
    count: AtomicUsize,
    /// What stands behind the current ones means nothing: interrupted pushes leave theirs there.
    items: [AtomicPtr<u8>; CAPACITY],
}

/// Empty stacks, which are made when they are first used.
pub const fn new() -> PerCpu<Stack> {
    // SAFETY: the number 0 and null pointers.
    unsafe { PerCpu::zeroed() }
}

/// Takes the object that was freed last on this CPU; null if there is none.
#[inline]
pub fn pop(stacks: &PerCpu<Stack>) -> *mut u8 {
    if stacks.allocate().is_err() {
        return null_mut();
    }
    // SAFETY: `last` is below the capacity.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&stacks[cpu].count);
                let last = count - 1;
                if last >= CAPACITY { exit null_mut() }
                let item = load(&stacks[cpu].items[last]);
            }
            commit store(&stacks[cpu].count, last)
            => item
        }
    }
}

/// Puts a free object onto this CPU's stack. Says whether there was room.
#[inline]
pub fn push(stacks: &PerCpu<Stack>, item: *mut u8) -> bool {
    if stacks.allocate().is_err() {
        return false;
    }
    // SAFETY: `count` is below the capacity.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&stacks[cpu].count);
                if count >= CAPACITY { exit false }
                store(&stacks[cpu].items[count], item);
                let more = count + 1;
            }
            commit store_release(&stacks[cpu].count, more)
            => true
        }
    }
}

/// Takes a whole batch, of those that were freed last. Says whether there were as many; if not, the batch says nothing.
pub fn pop_batch(stacks: &PerCpu<Stack>, batch: &mut Batch) -> bool {
    if stacks.allocate().is_err() {
        return false;
    }
    let to = batch.as_mut_ptr();
    // SAFETY: `rest` is below the capacity, and was computed from a number of no more than that: a batch lies behind it.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&stacks[cpu].count);
                let rest = count - BATCH;
                if rest >= CAPACITY { exit false }
                copy(&raw const stacks[cpu].items[rest], to, BATCH_BYTES);
            }
            commit store(&stacks[cpu].count, rest)
            => true
        }
    }
}

/// Puts all of these free objects onto this CPU's stack, or none. Says whether there was room.
pub fn push_batch(stacks: &PerCpu<Stack>, items: &[*mut u8]) -> bool {
    if stacks.allocate().is_err() {
        return false;
    }
    let (from, added, bytes) = (items.as_ptr(), items.len(), size_of_val(items));
    // SAFETY: no more than the capacity once they are added.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&stacks[cpu].count);
                let more = count + added;
                if more > CAPACITY { exit false }
                copy(from, &raw mut stacks[cpu].items[count], bytes);
            }
            commit store_release(&stacks[cpu].count, more)
            => true
        }
    }
}

impl Stack {
    /// Gives the objects on this CPU's stack back to the backend. Gives their number.
    ///
    /// # Safety
    /// It is the CPU's stack, and what it holds are objects of the backend of this layout.
    pub unsafe fn drain(&self, cpu: CpuId, backend: &impl GlobalAlloc, layout: Layout) -> Result<usize, StopError> {
        // An empty one isn't worth a fence. What is pushed meanwhile may stay.
        if self.count.load(Relaxed) == 0 {
            return Ok(0);
        }
        let mut stopped = drain::stop(&self.count, cpu)?;
        let count = stopped.count();
        // SAFETY: the caller's; sections find none of them, now and afterwards.
        unsafe { self.free(count, backend, layout) };
        stopped.set_count(0);
        Ok(count)
    }

    /// Gives the objects back to the backend that are on a stack which nobody will use any more.
    ///
    /// # Safety
    /// What it holds are objects of the backend of this layout, and no section will run on it.
    pub unsafe fn free_all(&self, backend: &impl GlobalAlloc, layout: Layout) {
        let count = self.count.load(Relaxed);
        // In a child of `fork` it may have been stopped by a thread that isn't there, and which had freed who knows how many.
        if count <= CAPACITY {
            // SAFETY: the caller's.
            unsafe { self.free(count, backend, layout) };
        }
    }

    /// # Safety
    /// The first `count` items are objects of the backend of this layout, and nobody else's.
    unsafe fn free(&self, count: usize, backend: &impl GlobalAlloc, layout: Layout) {
        for item in self.items.iter().take(count) {
            // SAFETY: the caller's.
            unsafe { backend.dealloc(item.load(Relaxed), layout) };
        }
    }
}
