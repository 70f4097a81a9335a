//! The allocator: classes, and what passes between them and the backend.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, null_mut};

use rseq::drain::StopError;
use rseq::{CpuId, PerCpu};

use super::class::{self, ALIGN, SIZES};
use super::stack::{self, BATCH, Batch, Stack};

/// An allocator that keeps small objects per CPU, and has all else done by its backend `A`.
///
/// The [crate](crate) says what is kept and where it works.
pub struct PerCpuAlloc<A: GlobalAlloc> {
    classes: [Class; SIZES.len()],
    backend: A,
}

/// Objects of one size.
struct Class {
    stacks: PerCpu<Stack>,
    size: usize,
}

impl<A: GlobalAlloc> PerCpuAlloc<A> {
    /// An allocator that keeps nothing yet. It has address space for what it keeps, and that only once it is used.
    #[must_use]
    pub const fn new(backend: A) -> Self {
        let mut classes = [const { Class { stacks: stack::new(), size: 0 } }; _];
        let mut class = 0;
        while class < SIZES.len() {
            classes[class].size = SIZES[class];
            class += 1;
        }
        Self { classes, backend }
    }

    /// Gives all objects that are kept, on all CPUs, back to the backend. Gives their number.
    ///
    /// Threads go on meanwhile: what they free on a CPU that was looked at already is kept. For each class that a CPU keeps objects of, this takes a
    /// [fence](rseq::fence), some microseconds, during which that CPU's requests go to the backend.
    ///
    /// # Errors
    /// If a stack couldn't be [stopped](rseq::drain::stop): it was being trimmed by another thread (in a child of `fork`, by one that the child doesn't have), or there are no
    /// fences (before Linux 5.10). Whatever could be stopped is empty even so.
    pub fn trim(&self) -> Result<usize, StopError> {
        sum(self.classes.iter().map(|class| class.trim(&self.backend)))
    }

    /// The allocator behind this one.
    #[must_use]
    pub const fn backend(&self) -> &A {
        &self.backend
    }

    /// The class of this layout's objects; those without are the backend's alone.
    #[inline]
    fn class(&self, layout: Layout) -> Option<&Class> {
        self.classes.get(class::of(layout)?)
    }
}

impl Class {
    /// The layout of each of its objects, which is what the backend is told.
    const fn layout(&self) -> Layout {
        // SAFETY: the alignment is a power of two, and the size is small.
        unsafe { Layout::from_size_align_unchecked(self.size, ALIGN) }
    }

    #[inline]
    fn allocate(&self, backend: &impl GlobalAlloc) -> *mut u8 {
        let object = stack::pop(&self.stacks);
        if object.is_null() { self.refill(backend) } else { object }
    }

    /// # Safety
    /// The object is one of this class, of this backend, and in use no more.
    #[inline]
    unsafe fn free(&self, object: *mut u8, backend: &impl GlobalAlloc) {
        if !stack::push(&self.stacks, object) {
            // SAFETY: the caller's.
            unsafe { self.spill(object, backend) };
        }
    }

    /// Gives what is kept on all CPUs to the backend, which it is from.
    fn trim(&self, backend: &impl GlobalAlloc) -> Result<usize, StopError> {
        let stacks = self.stacks.made().into_iter().flatten().enumerate();
        let of_cpus = stacks.filter_map(|(index, stack)| Some((CpuId::new(index)?, stack)));
        // SAFETY: the slots are those of the CPUs in turn; a class's stacks hold its objects.
        sum(of_cpus.map(|(cpu, stack)| unsafe { stack.drain(cpu, backend, self.layout()) }))
    }

    /// Takes a batch from the backend, of which one object is the caller's; null if the backend has none.
    #[cold]
    #[inline(never)]
    fn refill(&self, backend: &impl GlobalAlloc) -> *mut u8 {
        let mut batch: Batch = [null_mut(); BATCH];
        let mut taken = 0;
        // From the back, so that they are popped in the order in which the backend gave them.
        for item in batch.iter_mut().rev() {
            // SAFETY: the size isn't zero.
            *item = unsafe { backend.alloc(self.layout()) };
            if item.is_null() {
                break;
            }
            taken += 1;
        }
        let [rest @ .., object] = &batch[BATCH - taken..] else { return null_mut() };
        if !stack::push_batch(&self.stacks, rest) {
            // SAFETY: just taken, and nobody has them.
            rest.iter().for_each(|object| unsafe { backend.dealloc(*object, self.layout()) });
        }
        *object
    }

    /// Gives this object to the backend, and a batch of others, to have room for those that come next.
    ///
    /// # Safety
    /// As for [`Class::free`].
    #[cold]
    #[inline(never)]
    unsafe fn spill(&self, object: *mut u8, backend: &impl GlobalAlloc) {
        let mut batch: Batch = [null_mut(); BATCH];
        let batch = if stack::pop_batch(&self.stacks, &mut batch) { &batch[..] } else { &[] };
        for object in batch.iter().chain([&object]) {
            // SAFETY: the caller's; and so is what is in the stacks.
            unsafe { backend.dealloc(*object, self.layout()) };
        }
    }
}

/// The sum, or the first error, but not before the last is done.
fn sum(numbers: impl Iterator<Item = Result<usize, StopError>>) -> Result<usize, StopError> {
    let mut sum = Ok(0);
    for number in numbers {
        sum = sum.and_then(|sum| Ok(sum + number?));
    }
    sum
}

impl<A: GlobalAlloc> Drop for PerCpuAlloc<A> {
    /// Gives what is kept back to the backend.
    fn drop(&mut self) {
        for class in &self.classes {
            for stack in class.stacks.made().into_iter().flatten() {
                // SAFETY: a class's stacks hold its objects, and the allocator is in use no more.
                unsafe { stack.free_all(&self.backend, class.layout()) };
            }
        }
    }
}

// SAFETY: what it hands out is the backend's, has at least the size and alignment that were asked for, and is nobody else's until it is freed: a pop's section
// commits only if no other took the same object. A layout always has the same class, so what was taken from a class is given back to it, and the backend gets
// its objects back by the layout that it made them for.
unsafe impl<A: GlobalAlloc> GlobalAlloc for PerCpuAlloc<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.class(layout) {
            Some(class) => class.allocate(&self.backend),
            // SAFETY: the caller's.
            None => unsafe { self.backend.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe {
            match self.class(layout) {
                Some(class) => class.free(object, &self.backend),
                None => self.backend.dealloc(object, layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = self.class(layout) else {
            // SAFETY: the caller's.
            return unsafe { self.backend.alloc_zeroed(layout) };
        };
        let object = class.allocate(&self.backend);
        if !object.is_null() {
            // SAFETY: the object has as many bytes.
            unsafe { object.write_bytes(0, layout.size()) };
        }
        object
    }

    /// Stays in place within a class; among the backend's it is the backend's.
    #[inline]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller sees to it that it is one.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (self.class(layout), self.class(new_layout)) {
            (Some(old), Some(new)) if ptr::eq(old, new) => object,
            // SAFETY: the caller's.
            (None, None) => unsafe { self.backend.realloc(object, layout, size) },
            // SAFETY: the caller's.
            _ => unsafe { self.move_to(new_layout, object, layout) },
        }
    }
}

impl<A: GlobalAlloc> PerCpuAlloc<A> {
    /// Moves an object to where the new layout's are, with as many bytes as both have.
    ///
    /// # Safety
    /// As for `realloc`.
    unsafe fn move_to(&self, new_layout: Layout, object: *mut u8, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's; both have as many bytes, and the new one is nobody else's.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(object, layout.size().min(new_layout.size()));
                self.dealloc(object, layout);
            }
            new
        }
    }
}
