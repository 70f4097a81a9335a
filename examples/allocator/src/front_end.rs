//! The allocator: classes, and what passes between them and the backend.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rseq::drain::StopError;

use super::class::{self, ALIGN, SIZES};
use super::stack::{self, BATCH, Batch, Stacks, Then};
use super::tier::{Cells, Pile};

/// The bytes that a class keeps on a CPU at most.
const CPU_BYTES: usize = 64 << 10;
/// The bytes, and the batches, that a class keeps for all CPUs at most.
const TIER_BYTES: usize = 2 << 20;
const TIER_BATCHES: usize = 512;

/// An allocator that keeps small objects per CPU, and has all else done by its backend `A`.
///
/// The [crate](crate) says what is kept and where it works.
pub struct PerCpuAlloc<A: GlobalAlloc> {
    classes: [Class; SIZES.len()],
    behind: Behind<A>,
}

/// The tier and the backend behind the stacks of all classes.
struct Behind<A> {
    cells: Cells,
    backend: A,
}

/// Objects of one size.
struct Class {
    stacks: Stacks,
    size: usize,
    /// Batches for all CPUs.
    pile: Pile,
    /// How many batches are worth keeping there: those that the backend was asked for, less those
    /// that it was given because there were too many, but [`Class::most_wanted`] at most. At 0, the
    /// class keeps nothing, and its stacks are closed.
    wanted: AtomicUsize,
}

impl<A: GlobalAlloc> PerCpuAlloc<A> {
    /// An allocator that keeps nothing yet. It has address space for what it keeps, and that only
    /// once it is used.
    #[must_use]
    pub const fn new(backend: A) -> Self {
        let mut classes = [const { Class::new() }; _];
        let mut class = 0;
        while class < SIZES.len() {
            classes[class].size = SIZES[class];
            class += 1;
        }
        Self { classes, behind: Behind { cells: Cells::new(), backend } }
    }

    /// Gives all objects that are kept back to the backend: those on all CPUs and those between
    /// them. Gives their number.
    ///
    /// Threads go on meanwhile: what they free on a CPU that was looked at already is kept. For
    /// each class that a CPU keeps objects of, this takes a [fence](rseq::fence), some
    /// microseconds, during which that CPU's requests go to the backend.
    ///
    /// Their further fate is the backend's affair. That of glibc returns to the system what is free
    /// at the end of its heap, and keeps what lies between objects in use until `malloc_trim` is
    /// called: so where memory is to be returned, call this, and then that.
    ///
    /// # Errors
    /// If a stack couldn't be [stopped](rseq::drain::stop): it was being trimmed by another thread
    /// (in a child of `fork`, by one that the child doesn't have), or there are no fences (before
    /// Linux 5.10). Whatever could be stopped is empty even so.
    pub fn trim(&self) -> Result<usize, StopError> {
        sum(self.classes.iter().map(|class| class.empty(&self.behind, Then::GoOn)))
    }

    /// The allocator behind this one.
    #[must_use]
    pub const fn backend(&self) -> &A {
        &self.behind.backend
    }

    /// The class of this layout's objects; those without are the backend's alone.
    #[inline]
    fn class(&self, layout: Layout) -> Option<&Class> {
        self.classes.get(class::of(layout)?)
    }
}

impl Class {
    /// One of no size yet.
    const fn new() -> Self {
        Self { stacks: Stacks::new(), size: 0, pile: Pile::new(), wanted: AtomicUsize::new(0) }
    }

    /// The layout of each of its objects, which is what the backend is told.
    const fn layout(&self) -> Layout {
        // SAFETY: the alignment is a power of two, and the size is small.
        unsafe { Layout::from_size_align_unchecked(self.size, ALIGN) }
    }

    fn most_wanted(&self) -> usize {
        TIER_BATCHES.min(TIER_BYTES / BATCH / self.size)
    }

    #[inline]
    fn allocate(&self, behind: &Behind<impl GlobalAlloc>) -> *mut u8 {
        let object = stack::pop(&self.stacks);
        if object.is_null() { self.refill(behind) } else { object }
    }

    /// # Safety
    /// The object is one of this class, of this backend, and in use no more.
    #[inline]
    unsafe fn free(&self, object: *mut u8, behind: &Behind<impl GlobalAlloc>) {
        if !stack::push(&self.stacks, object) {
            // SAFETY: the caller's.
            unsafe { self.spill(object, behind) };
        }
    }

    /// Gives what is kept, on all CPUs and between them, to the backend.
    fn empty(&self, behind: &Behind<impl GlobalAlloc>, then: Then) -> Result<usize, StopError> {
        // SAFETY: a class's batches are its objects, and are in use no more.
        let batches = behind.cells.take_all(&self.pile, |batch| unsafe { self.give_back(batch, &behind.backend) });
        // SAFETY: a class's stacks hold its objects.
        let on_stacks = sum(unsafe { self.stacks.drain(&behind.backend, self.layout(), then) });
        Ok(batches * BATCH + on_stacks?)
    }

    /// Takes a batch from the tier or from the backend, of which one object is the caller's; null
    /// if the backend has none. Where nothing is kept, it is one that the backend makes.
    #[cold]
    #[inline(never)]
    fn refill(&self, behind: &Behind<impl GlobalAlloc>) -> *mut u8 {
        if !self.stacks.make(CPU_BYTES / self.size) {
            // SAFETY: the size isn't zero.
            return unsafe { behind.backend.alloc(self.layout()) };
        }
        let mut batch: Batch = [null_mut(); BATCH];
        let taken =
            if behind.cells.take(&self.pile, &mut batch) { BATCH } else { self.ask(&mut batch, &behind.backend) };
        let [rest @ .., object] = &batch[BATCH - taken..] else { return null_mut() };
        stack::open(&self.stacks);
        if stack::push_batch(&self.stacks, rest) {
            return *object;
        }
        // The stack is being drained; in a child of `fork` for good, if it was by a thread that
        // isn't there.
        if taken == BATCH && behind.cells.put(&self.pile, &batch, self.wanted.load(Relaxed)) {
            // SAFETY: the size isn't zero.
            return unsafe { behind.backend.alloc(self.layout()) };
        }
        // SAFETY: just taken, and nobody has them.
        unsafe { self.give_back(rest, &behind.backend) };
        *object
    }

    /// Takes a batch from the backend, if that has as many objects. Gives their number: they are
    /// the last of the batch.
    fn ask(&self, batch: &mut Batch, backend: &impl GlobalAlloc) -> usize {
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
        // For the next time.
        let more = |wanted: usize| (wanted < self.most_wanted()).then(|| wanted + 1);
        let _enough = self.wanted.fetch_update(Relaxed, Relaxed, more);
        taken
    }

    /// Makes room for this object, and for those that come next, by giving a batch of others to the
    /// tier; or gives it to the backend, where nothing is kept.
    ///
    /// # Safety
    /// As for [`Class::free`].
    #[cold]
    #[inline(never)]
    unsafe fn spill(&self, object: *mut u8, behind: &Behind<impl GlobalAlloc>) {
        let batch = stack::pop_batch(&self.stacks);
        if let Some(batch) = &batch
            && !behind.cells.put(&self.pile, batch, self.wanted.load(Relaxed))
        {
            // SAFETY: what is in the stacks is in use no more.
            unsafe { self.shrink(batch, behind) };
        }
        let open = self.wanted.load(Relaxed) > 0;
        if open && batch.is_none() {
            // Others have asked for some since this CPU's stack was closed.
            stack::open(&self.stacks);
        }
        if !open || !stack::push(&self.stacks, object) {
            // SAFETY: the caller's.
            unsafe { self.give_back(&[object], &behind.backend) };
        }
    }

    /// Gives to the backend a batch that isn't wanted. If so many are freed and none is asked for,
    /// in the end nothing is wanted, and all is given back: so what was used once doesn't stay, nor
    /// keep the backend from returning what lies around it.
    ///
    /// # Safety
    /// The batch's objects are this class's, and in use no more.
    #[cold]
    unsafe fn shrink(&self, batch: &Batch, behind: &Behind<impl GlobalAlloc>) {
        // SAFETY: the caller's.
        unsafe { self.give_back(batch, &behind.backend) };
        let less = self.wanted.fetch_update(Relaxed, Relaxed, |wanted| wanted.checked_sub(1));
        if less.unwrap_or(0) <= 1 {
            // Those that are busy, or that can't be stopped, keep what they have.
            let _busy = self.empty(behind, Then::Close);
        }
    }

    /// # Safety
    /// They are objects of this class, of this backend, and in use no more.
    unsafe fn give_back(&self, objects: &[*mut u8], backend: &impl GlobalAlloc) {
        // SAFETY: the caller's.
        objects.iter().for_each(|object| unsafe { backend.dealloc(*object, self.layout()) });
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
        let Behind { cells, backend } = &self.behind;
        for class in &self.classes {
            // SAFETY: a class's batches are its objects, and are in use no more.
            cells.take_all(&class.pile, |batch| unsafe { class.give_back(batch, backend) });
            // SAFETY: a class's stacks hold its objects, and the allocator is in use no more.
            unsafe { class.stacks.free_all(backend, class.layout()) };
        }
    }
}

// SAFETY: what it hands out is the backend's, has at least the size and alignment that were asked
// for, and is nobody else's until it is freed: a pop's section commits only if no other took the
// same object. A layout always has the same class, so what was taken from a class is given back to
// it, and the backend gets its objects back by the layout that it made them for.
unsafe impl<A: GlobalAlloc> GlobalAlloc for PerCpuAlloc<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.class(layout) {
            Some(class) => class.allocate(&self.behind),
            // SAFETY: the caller's.
            None => unsafe { self.behind.backend.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe {
            match self.class(layout) {
                Some(class) => class.free(object, &self.behind),
                None => self.behind.backend.dealloc(object, layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = self.class(layout) else {
            // SAFETY: the caller's.
            return unsafe { self.behind.backend.alloc_zeroed(layout) };
        };
        let object = class.allocate(&self.behind);
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
            (None, None) => unsafe { self.behind.backend.realloc(object, layout, size) },
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
