//! One value per slot.

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Index;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu::{CpuId, IndexKind, slots};
use crate::section;

#[cfg(all(unix, not(miri)))]
mod arena;
#[cfg(not(all(unix, not(miri))))]
mod heap;
#[cfg(all(unix, not(miri)))]
use arena as memory;
#[cfg(not(all(unix, not(miri))))]
use heap as memory;

/// A value for every CPU, for sections to update without locks or atomic instructions.
///
/// There are [`slots`] of them, which never share a cache line. `I` is the kind of index that selects a slot: [`CpuId`] or [`MmCid`](crate::MmCid). Indices of one kind don't select slots of the other.
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
///
/// # Memory
///
/// [`PerCpu::new`] takes none, so a `static` costs four words. The values are made when they are first used, or by [`PerCpu::allocate`], which says whether there was
/// memory.
///
/// On Unix, each CPU that there can ever be has 64 KiB of address space in which its slots of all `PerCpu`s lie side by side: what one CPU uses often is on few
/// lines and pages, a thousand counters take two pages of each CPU that counts, and CPUs that don't count take nothing but address space. A page is taken when it is first
/// stored to; so if the values are all zero when they are made (atomics, null pointers), it is the CPU's own first update that takes it, and the kernel takes it from
/// the memory that is nearest to that CPU. Other values are stored by the thread that uses them first. Values of more than 64 KiB have address space of their own, with the
/// distance between slots rounded up to a power of two.
///
/// Dropping a `PerCpu` drops its values and leaves the memory to those that are made later.
///
/// A child of `fork` has a copy of the values as they were, as of all memory; what parent and child change from then on is their own.
#[repr(C)]
pub struct PerCpu<T, I = CpuId> {
    /// The first slot, null until first used; the others are a [`slot_bytes`] apart. A window that reads its index by itself finds it at offset 0.
    first: AtomicPtr<T>,
    /// The bytes of the slots that such a window may use: 0 until [`PerCpu::open`]. At the next word's offset.
    limit: AtomicUsize,
    /// Makes the value of a slot on first use; without it, it is all zero.
    make: Option<fn(usize) -> T>,
    /// Where the slots lie: [`IndexKind::ARENA`].
    arena: usize,
    owns: PhantomData<T>,
    index: PhantomData<fn(I)>,
}

/// There is no memory for the slots of a [`PerCpu`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError {
    bytes: usize,
}

impl AllocError {
    /// The bytes that were asked for, of address space; `usize::MAX` if there can't be as many.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.bytes
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory for slots of {} bytes", self.bytes)
    }
}

impl core::error::Error for AllocError {}

/// Where the slots of each kind of index lie: [`IndexKind::ARENA`].
static ARENAS: [memory::Arena; 2] = [const { memory::Arena::new() }; 2];

/// The distance in bytes from one slot to the next.
#[must_use]
pub const fn slot_bytes<T>() -> usize {
    memory::stride::<T>()
}

// SAFETY: hands out `&T` to every thread, and drops, in the dropping thread, values that another one made.
unsafe impl<T: Send + Sync, I> Sync for PerCpu<T, I> {}
// SAFETY: owns its values.
unsafe impl<T: Send, I> Send for PerCpu<T, I> {}

impl<T: Default, I: IndexKind> PerCpu<T, I> {
    /// Values by `T::default()`, made on first use.
    ///
    /// The first use may come from several threads at once: then more values are made than kept.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: AtomicPtr::new(null_mut()),
            limit: AtomicUsize::new(0),
            make: Some(|_| T::default()),
            arena: I::ARENA,
            owns: PhantomData,
            index: PhantomData,
        }
    }
}

impl<T: Default, I: IndexKind> Default for PerCpu<T, I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, I: IndexKind> PerCpu<T, I> {
    /// Values of zeroes, made on first use. For large ones, which needn't be on the stack then.
    ///
    /// ```
    /// use rseq::PerCpu;
    /// use std::sync::atomic::AtomicU64;
    ///
    /// // SAFETY: atomics of zeroes are atomics.
    /// static COUNTS: PerCpu<[AtomicU64; 4096]> = unsafe { PerCpu::zeroed() };
    /// ```
    ///
    /// # Safety
    /// A `T` may consist of zeroes alone.
    #[must_use]
    pub const unsafe fn zeroed() -> Self {
        Self {
            first: AtomicPtr::new(null_mut()),
            limit: AtomicUsize::new(0),
            make: None,
            arena: I::ARENA,
            owns: PhantomData,
            index: PhantomData,
        }
    }

    /// Values by `make`, which is called at once with the index of each slot in turn.
    ///
    /// ```
    /// let ids = rseq::PerCpu::<usize>::with(|index| index * 10);
    /// assert!(ids.iter().copied().eq((0..rseq::slots()).map(|index| index * 10)));
    /// ```
    ///
    /// # Panics
    /// If there is no memory (see [`PerCpu::try_with`]), and when `make` does.
    #[must_use]
    pub fn with(make: impl FnMut(usize) -> T) -> Self {
        Self::try_with(make).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`PerCpu::with`].
    ///
    /// ```
    /// let ids = rseq::PerCpu::<usize>::try_with(|index| index * 10)?;
    /// # Ok::<(), rseq::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no memory. Then `make` wasn't called.
    ///
    /// # Panics
    /// When `make` does.
    pub fn try_with(make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        let first = Values::make(I::ARENA, make)?.keep();
        Ok(Self {
            first: AtomicPtr::new(first.as_ptr()),
            limit: AtomicUsize::new(0),
            make: None,
            arena: I::ARENA,
            owns: PhantomData,
            index: PhantomData,
        })
    }
}

impl<T, I> PerCpu<T, I> {
    /// Makes the values now, if they aren't yet. From then on no use of them needs memory for slots, nor panics for want of it.
    ///
    /// ```
    /// use rseq::PerCpu;
    /// use std::sync::atomic::AtomicU64;
    ///
    /// static HITS: PerCpu<AtomicU64> = PerCpu::new();
    /// HITS.allocate()?;
    /// # Ok::<(), rseq::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no memory. Then nothing has changed.
    ///
    /// # Panics
    /// When `T::default` does.
    #[inline]
    pub fn allocate(&self) -> Result<(), AllocError> {
        if self.first.load(Relaxed).is_null() {
            self.first_use()?;
        }
        Ok(())
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
        Iter::of(self.first())
    }

    /// As [`PerCpu::iter`], but `None` as long as nobody used the values: then they aren't made for it.
    ///
    /// ```
    /// let hits = rseq::PerCpu::<u32>::new();
    /// assert!(hits.made().is_none());
    /// hits.allocate().unwrap();
    /// assert!(hits.made().is_some());
    /// ```
    pub fn made(&self) -> Option<Iter<'_, T>> {
        NonNull::new(self.first.load(Acquire)).map(Iter::of)
    }

    #[inline(always)]
    fn first(&self) -> NonNull<T> {
        NonNull::new(self.first.load(Acquire)).unwrap_or_else(|| self.first_use_or_panic())
    }

    #[cold]
    #[inline(never)]
    fn first_use_or_panic(&self) -> NonNull<T> {
        self.first_use().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes the values, unless another thread is quicker. A section that finds itself here aborts and starts again: the
    /// memory comes from a system call, which a section can't be said to survive. From here on it isn't armed.
    #[cold]
    #[inline(never)]
    fn first_use(&self) -> Result<NonNull<T>, AllocError> {
        section::disarm_this_thread();
        let values = match self.make {
            Some(make) => Values::make(self.arena, make)?,
            // SAFETY: `zeroed`'s caller's.
            None => unsafe { Values::zeroed(self.arena)? },
        };
        Ok(match self.first.compare_exchange(null_mut(), values.first.as_ptr(), Release, Acquire) {
            Ok(_) => values.keep(),
            // Set by another thread, so not null; ours are dropped.
            Err(winner) => NonNull::new(winner).unwrap_or(values.first),
        })
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
        // SAFETY: `first` is the first of `slots()` values, which live as long as `self`; every index is below that number.
        unsafe { slot(self.first(), index.number()).as_ref() }
    }
}

/// The slot of this index.
///
/// # Safety
/// `first` is the slot 0, and the index is below [`slots`].
#[inline(always)]
unsafe fn slot<T>(first: NonNull<T>, index: usize) -> NonNull<T> {
    // SAFETY: the caller's.
    unsafe { first.byte_add(index * slot_bytes::<T>()) }
}

impl<T, I> Drop for PerCpu<T, I> {
    fn drop(&mut self) {
        if let Some(first) = NonNull::new(*self.first.get_mut()) {
            drop(Values { arena: self.arena, first, made: slots() });
        }
    }
}

impl<T: fmt::Debug, I> fmt::Debug for PerCpu<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.made().into_iter().flatten()).finish()
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
#[derive(Clone)]
pub struct Iter<'a, T> {
    first: NonNull<T>,
    indices: core::ops::Range<usize>,
    slots: PhantomData<&'a T>,
}

// SAFETY: as the references that it gives.
unsafe impl<T: Sync> Send for Iter<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Iter<'_, T> {}

impl<T> Iter<'_, T> {
    fn of(first: NonNull<T>) -> Self {
        Self { first, indices: 0..slots(), slots: PhantomData }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        // SAFETY: the values live as long as the `PerCpu` is borrowed; the indices are those of slots.
        self.indices.next().map(|index| unsafe { slot(self.first, index).as_ref() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

impl<T: fmt::Debug> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = Self { indices: self.indices.clone(), ..*self };
        f.debug_list().entries(rest).finish()
    }
}

/// Memory for all slots, of which the first `made` hold a value. Drops them.
struct Values<T> {
    arena: usize,
    first: NonNull<T>,
    made: usize,
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
    unsafe fn zeroed(arena: usize) -> Result<Self, AllocError> {
        let mut values = Self::memory(arena)?;
        values.made = slots();
        Ok(values)
    }

    fn make(arena: usize, mut make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        let mut values = Self::memory(arena)?;
        while values.made < slots() {
            // SAFETY: a slot's memory, which is zero; a panic in `make` drops those before.
            unsafe { memory::put(slot(values.first, values.made), make(values.made)) };
            values.made += 1;
        }
        Ok(values)
    }

    fn keep(self) -> NonNull<T> {
        let first = self.first;
        core::mem::forget(self);
        first
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        for index in 0..self.made {
            // SAFETY: the first `made` slots hold values, and nobody else refers to them.
            unsafe { slot(self.first, index).drop_in_place() };
        }
        // SAFETY: allocated above, and in use no more.
        unsafe { memory::free(&ARENAS[self.arena], self.first.cast(), Layout::new::<T>()) };
    }
}

const _: () = {
    // Windows find the two words there, whatever the type of the values.
    assert!(core::mem::offset_of!(PerCpu<u8>, first) == 0);
    assert!(core::mem::offset_of!(PerCpu<u8>, limit) == size_of::<usize>());
};
