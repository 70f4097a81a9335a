//! One value per slot.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Index;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu::{CpuId, IndexKind, slots};
use crate::section;

/// A value for every CPU, for sections to update without locks or atomic instructions.
///
/// There are [`slots`] of them, each on cache lines of its own (two at least, because processors fetch lines in
/// pairs). `I` is the kind of index that selects a slot: [`CpuId`] or [`MmCid`](crate::MmCid). Indices of one kind don't select slots of the other.
///
/// As any shared data, the values are changed through atomics or raw pointers; which section changes which slot is what
/// makes that exact.
///
/// ```
/// use rseq::{rseq, PerCpu};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// static HITS: PerCpu<AtomicU64> = PerCpu::new();
///
/// rseq! {
///     prepare |cpu| {
///         let slot = &HITS[cpu];
///         let next = slot.load(Relaxed) + 1;
///     }
///     commit store(slot, next)
/// }
/// assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 1);
/// ```
#[repr(C)]
pub struct PerCpu<T, I = CpuId> {
    /// The first slot, null until first used. A window that reads its index by itself finds it at offset 0.
    first: AtomicPtr<Slot<T>>,
    /// The bytes of the slots that such a window may use: 0 until [`PerCpu::open`]. At the next word's offset.
    limit: AtomicUsize,
    /// Makes the value of a slot on first use.
    make: fn(usize) -> T,
    owns: PhantomData<T>,
    index: PhantomData<fn(I)>,
}

#[repr(align(128))]
struct Slot<T>(T);

/// The distance in bytes from one slot to the next.
#[must_use]
pub const fn slot_bytes<T>() -> usize {
    size_of::<Slot<T>>()
}

// SAFETY: hands out `&T` to every thread, and drops, in the dropping thread, values that another one made.
unsafe impl<T: Send + Sync, I> Sync for PerCpu<T, I> {}
// SAFETY: owns its values.
unsafe impl<T: Send, I> Send for PerCpu<T, I> {}

impl<T: Default, I> PerCpu<T, I> {
    /// Values by `T::default()`, made on first use.
    ///
    /// The first use may come from several threads at once: then more values are made than kept.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: AtomicPtr::new(null_mut()),
            limit: AtomicUsize::new(0),
            make: |_| T::default(),
            owns: PhantomData,
            index: PhantomData,
        }
    }
}

impl<T: Default, I> Default for PerCpu<T, I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, I> PerCpu<T, I> {
    /// Values by `make`, which is called at once with the index of each slot in turn.
    ///
    /// ```
    /// let ids = rseq::PerCpu::<usize>::with(|index| index * 10);
    /// assert!(ids.iter().copied().eq((0..rseq::slots()).map(|index| index * 10)));
    /// ```
    ///
    /// # Panics
    /// If there is no memory, and when `make` does.
    #[must_use]
    pub fn with(make: impl FnMut(usize) -> T) -> Self {
        let first = Values::make(make).keep();
        Self {
            first: AtomicPtr::new(first.as_ptr()),
            limit: AtomicUsize::new(0),
            make: |_| unreachable!("every slot has its value"),
            owns: PhantomData,
            index: PhantomData,
        }
    }

    /// The number of slots: [`slots`].
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always at least one CPU")]
    pub fn len(&self) -> usize {
        slots()
    }

    /// Every slot in the order of its index, from any thread.
    ///
    /// # Panics
    /// As the first index does.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { slots: self.all().iter() }
    }

    fn all(&self) -> &[Slot<T>] {
        // SAFETY: `first` points to `slots()` values, which live as long as `self`.
        unsafe { core::slice::from_raw_parts(self.first().as_ptr(), slots()) }
    }

    #[inline(always)]
    fn first(&self) -> NonNull<Slot<T>> {
        NonNull::new(self.first.load(Acquire)).unwrap_or_else(|| self.first_use())
    }

    /// Makes the values, unless another thread is quicker. A section that finds itself here aborts and starts again: the
    /// memory comes from a system call, which a section can't be said to survive. From here on it isn't armed.
    #[cold]
    #[inline(never)]
    fn first_use(&self) -> NonNull<Slot<T>> {
        section::disarm_this_thread();
        let values = Values::make(self.make);
        match self.first.compare_exchange(null_mut(), values.first.as_ptr(), Release, Acquire) {
            Ok(_) => values.keep(),
            // Set by another thread, so not null; ours are dropped.
            Err(winner) => NonNull::new(winner).unwrap_or(values.first),
        }
    }
}

impl<T, I: IndexKind> PerCpu<T, I> {
    /// Lets windows that read their index by themselves use these slots, where sections are restartable. Says whether anything
    /// had to be done for it.
    #[doc(hidden)]
    #[must_use]
    pub fn open(&self) -> bool {
        let made = self.first.load(Relaxed).is_null();
        self.first();
        let bytes = I::limit() * slot_bytes::<T>();
        // After the memory: whoever sees the limit sees the slots.
        let opened = self.limit.swap(bytes, Release) != bytes;
        made || opened
    }
}

impl<T, I: IndexKind> Index<I> for PerCpu<T, I> {
    type Output = T;

    /// The slot of this index.
    ///
    /// # Panics
    /// If this is the first use and there is no memory, or `T::default` panics.
    #[inline(always)]
    fn index(&self, index: I) -> &T {
        // SAFETY: `first` points to `slots()` values, which live as long as `self`; every index is below that number.
        unsafe { &(*self.first().as_ptr().add(index.number())).0 }
    }
}

impl<T, I> Drop for PerCpu<T, I> {
    fn drop(&mut self) {
        if let Some(first) = NonNull::new(*self.first.get_mut()) {
            drop(Values { first, made: slots() });
        }
    }
}

impl<T: fmt::Debug, I> fmt::Debug for PerCpu<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T, I> IntoIterator for &'a PerCpu<T, I> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The slots of a [`PerCpu`]: see [`PerCpu::iter`].
pub struct Iter<'a, T> {
    slots: core::slice::Iter<'a, Slot<T>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.slots.next().map(|slot| &slot.0)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.slots.size_hint()
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

impl<T: fmt::Debug> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.as_slice().iter().map(|slot| &slot.0)).finish()
    }
}

/// Memory for all slots, of which the first `made` hold a value. Drops them.
struct Values<T> {
    first: NonNull<Slot<T>>,
    made: usize,
}

impl<T> Values<T> {
    fn make(mut make: impl FnMut(usize) -> T) -> Self {
        let count = slots();
        let mut values = Self { first: memory::allocate(count), made: 0 };
        while values.made < count {
            // SAFETY: inside the memory for `count` slots; a panic in `make` drops those before.
            unsafe { values.first.add(values.made).write(Slot(make(values.made))) };
            values.made += 1;
        }
        values
    }

    fn keep(self) -> NonNull<Slot<T>> {
        let first = self.first;
        core::mem::forget(self);
        first
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        // SAFETY: the first `made` slots hold values, and nobody else refers to them.
        unsafe {
            core::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.made).drop_in_place();
            memory::free(self.first, slots());
        }
    }
}

/// Memory straight from the system where there is `mmap`: `PerCpu` may serve an allocator, which can't be asked then.
mod memory {
    use core::alloc::Layout;
    use core::ptr::NonNull;

    fn layout<T>(count: usize) -> Layout {
        Layout::array::<T>(count).expect("the slots of a PerCpu don't fit into memory")
    }

    cfg_select! {
        all(unix, not(miri)) => {
            /// No page has less.
            const PAGE: usize = 4096;

            pub(super) fn allocate<T>(count: usize) -> NonNull<T> {
                use core::ptr::null_mut;
                let layout = layout::<T>(count);
                assert!(layout.align() <= PAGE, "a PerCpu holds no type aligned to more than a page");
                let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                // SAFETY: new memory wherever the kernel likes.
                let memory = unsafe { libc::mmap(null_mut(), layout.size(), access, kind, -1, 0) };
                assert!(memory != libc::MAP_FAILED, "no memory for the {} bytes of a PerCpu", layout.size());
                NonNull::new(memory.cast()).expect("the kernel maps nothing at address 0")
            }

            /// # Safety
            /// The memory is `allocate`'s for the same count, and in use no more.
            pub(super) unsafe fn free<T>(memory: NonNull<T>, count: usize) {
                // SAFETY: the caller's.
                unsafe { libc::munmap(memory.as_ptr().cast(), layout::<T>(count).size()) };
            }
        }
        _ => {
            use alloc::alloc::{alloc, dealloc, handle_alloc_error};

            pub(super) fn allocate<T>(count: usize) -> NonNull<T> {
                let layout = layout::<T>(count);
                // SAFETY: a slot has a size of 128 bytes at least.
                NonNull::new(unsafe { alloc(layout) }.cast()).unwrap_or_else(|| handle_alloc_error(layout))
            }

            /// # Safety
            /// The memory is `allocate`'s for the same count, and in use no more.
            pub(super) unsafe fn free<T>(memory: NonNull<T>, count: usize) {
                // SAFETY: the caller's.
                unsafe { dealloc(memory.as_ptr().cast(), layout::<T>(count)) };
            }
        }
    }
}

const _: () = {
    // Windows find the two words there, whatever the type of the values.
    assert!(core::mem::offset_of!(PerCpu<u8>, first) == 0);
    assert!(core::mem::offset_of!(PerCpu<u8>, limit) == size_of::<usize>());
};
