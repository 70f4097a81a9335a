//! Stacks of free objects, one per CPU: arrays of pointers that nobody looks behind.
//!
//! The sections keep the rules of [`rseq::drain`]: each loads the number of objects in its window,
//! takes a stopped one (which is huge) for a stack that is full or has too few, and commits by
//! storing a number that it computed. Comparisons are with what the stack would be left with, so
//! one of them does for both.
//!
//! # Order
//!
//! The bytes that a thread wrote to an object before it freed it are to be seen by whoever has it
//! next. Through the stack of one CPU that is a thread on the same CPU, and the kernel's switch
//! from one to the other is a barrier (in portable mode, the stack's lock). From CPU to CPU objects
//! come in three ways only: by the program, which has them synchronised then; by the
//! [tier](super::tier); and by [`Stacks::drain`], whose fence interrupts that CPU or finds that the
//! kernel has switched there.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};

use rseq::drain::{MOST, StopError};
use rseq::{CpuId, PerCpu};

// Not those of `rseq`: the tests compile this file once more with sections that lose updates, and
// with a drain that stops nobody.
use super::{drain, keeps, rseq};

/// The most objects that a stack holds.
pub const CAPACITY: usize = 255;
/// So many objects at once are taken from the backend and given back.
pub const BATCH: usize = 32;
const BATCH_BYTES: usize = size_of::<[*mut u8; BATCH]>();

/// Objects on their way.
pub type Batch = [*mut u8; BATCH];

/// A number of objects that says that none are kept here: pushes find no room, and pops nothing.
const CLOSED: usize = MOST;

/// The free objects of a class on one CPU.
struct Stack {
    /// How many there are: those in front of it.
    count: AtomicUsize,
    /// The items behind the current ones mean nothing: interrupted pushes leave theirs there.
    items: [AtomicPtr<u8>; CAPACITY],
}

/// The free objects of a class on all CPUs.
pub struct Stacks {
    slots: PerCpu<Stack>,
    /// The most objects on a CPU, no more than the capacity; 0 until the slots are there.
    most: AtomicUsize,
}

impl Stacks {
    /// Stacks that are empty and have no room.
    pub const fn new() -> Self {
        // SAFETY: the number 0 and null pointers.
        Self { slots: unsafe { PerCpu::zeroed() }, most: AtomicUsize::new(0) }
    }

    /// The most objects on a CPU: if it isn't 0, the slots are there.
    #[inline]
    fn most(&self) -> usize {
        self.most.load(Acquire)
    }

    /// Gives each CPU room for so many objects, or for as many as the capacity. Says whether there
    /// is any: not where nothing is to be kept, nor without memory.
    pub fn make(&self, most: usize) -> bool {
        if self.most() == 0 && keeps() && self.slots.allocate().is_ok() {
            self.most.store(most.min(CAPACITY), Release);
        }
        self.most() != 0
    }
}

/// Takes the object that was freed last on this CPU; null if there is none.
#[inline]
pub fn pop(stacks: &Stacks) -> *mut u8 {
    if stacks.most() == 0 {
        return null_mut();
    }
    let slots = &stacks.slots;
    // SAFETY: `last` is below the capacity.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&slots[cpu].count);
                let last = count - 1;
                if last >= CAPACITY { exit null_mut() }
                let item = load(&slots[cpu].items[last]);
            }
            commit store(&slots[cpu].count, last)
            => item
        }
    }
}

/// Puts a free object onto this CPU's stack. Says whether there was room.
#[inline]
pub fn push(stacks: &Stacks, item: *mut u8) -> bool {
    let most = stacks.most();
    if most == 0 {
        return false;
    }
    let slots = &stacks.slots;
    // SAFETY: `count` is below `most`, and that isn't above the capacity.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&slots[cpu].count);
                if count >= most { exit false }
                store(&slots[cpu].items[count], item);
                let more = count + 1;
            }
            commit store_release(&slots[cpu].count, more)
            => true
        }
    }
}

/// Takes a whole batch, of those that were freed last, if there are as many.
pub fn pop_batch(stacks: &Stacks) -> Option<Batch> {
    if stacks.most() == 0 {
        return None;
    }
    let slots = &stacks.slots;
    let mut batch = MaybeUninit::<Batch>::uninit();
    let to = batch.as_mut_ptr();
    // SAFETY: `rest` is below the capacity, and was computed from a number of no more than that: a
    // batch lies behind it. Where that isn't so, the batch isn't looked at.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&slots[cpu].count);
                let rest = count - BATCH;
                if rest >= CAPACITY { exit None }
                copy(&raw const slots[cpu].items[rest], to, BATCH_BYTES);
            }
            commit store(&slots[cpu].count, rest)
            => Some(batch.assume_init())
        }
    }
}

/// Puts all of these free objects onto this CPU's stack, or none. Says whether there was room.
pub fn push_batch(stacks: &Stacks, items: &[*mut u8]) -> bool {
    if stacks.most() == 0 {
        return false;
    }
    let slots = &stacks.slots;
    let (from, added, bytes) = (items.as_ptr(), items.len(), size_of_val(items));
    // SAFETY: no more than the capacity once they are added.
    unsafe {
        rseq! {
            critical |cpu| {
                let count = load(&slots[cpu].count);
                let more = count + added;
                if more > CAPACITY { exit false }
                copy(from, &raw mut slots[cpu].items[count], bytes);
            }
            commit store_release(&slots[cpu].count, more)
            => true
        }
    }
}

/// Has this CPU's stack keep objects again, if it was [closed](Stacks::drain).
pub fn open(stacks: &Stacks) {
    if stacks.most() == 0 {
        return;
    }
    let slots = &stacks.slots;
    rseq! {
        critical |cpu| {
            let count = load(&slots[cpu].count);
            if count != CLOSED { exit () }
        }
        commit store(&slots[cpu].count, 0)
    }
}

/// The fate of a stack that was drained.
#[derive(Clone, Copy)]
pub enum Then {
    GoOn,
    /// Keep nothing until it is [opened](open).
    Close,
}

impl Stacks {
    /// Gives the objects on the stacks of all CPUs back to the backend. Gives a number or an error
    /// for each.
    ///
    /// # Safety
    /// The objects in them are the backend's, of this layout.
    pub unsafe fn drain(
        &self,
        backend: &impl GlobalAlloc,
        layout: Layout,
        then: Then,
    ) -> impl Iterator<Item = Result<usize, StopError>> {
        let stacks = self.slots.made().into_iter().flatten().enumerate();
        // SAFETY: the slots are those of the CPUs in turn; the rest is the caller's.
        stacks.filter_map(move |(index, stack)| unsafe { Some(stack.drain(CpuId::new(index)?, backend, layout, then)) })
    }

    /// Gives all objects back to the backend, when nobody uses the stacks any more.
    ///
    /// # Safety
    /// The objects in them are the backend's, of this layout, and no section will run on them.
    pub unsafe fn free_all(&self, backend: &impl GlobalAlloc, layout: Layout) {
        for stack in self.slots.made().into_iter().flatten() {
            let count = stack.count.load(Relaxed);
            // In a child of `fork` it may have been stopped by a thread that isn't there, and which
            // had freed who knows how many.
            if count <= CAPACITY {
                // SAFETY: the caller's.
                unsafe { stack.free(count, backend, layout) };
            }
        }
    }
}

impl Stack {
    /// # Safety
    /// It is the CPU's stack, and what it holds are objects of the backend of this layout.
    unsafe fn drain(
        &self,
        cpu: CpuId,
        backend: &impl GlobalAlloc,
        layout: Layout,
        then: Then,
    ) -> Result<usize, StopError> {
        // An empty one isn't worth a fence. What is pushed meanwhile may stay.
        if matches!(self.count.load(Relaxed), 0 | CLOSED) {
            return Ok(0);
        }
        let mut stopped = drain::stop(&self.count, cpu)?;
        // Another thread may have closed it meanwhile.
        let count = if stopped.count() == CLOSED { 0 } else { stopped.count() };
        // SAFETY: the caller's; sections find none of them, now and afterwards.
        unsafe { self.free(count, backend, layout) };
        stopped.set_count(match then {
            Then::GoOn => 0,
            Then::Close => CLOSED,
        });
        Ok(count)
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
