//! One value per slot.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Index;
use core::panic::UnwindSafe;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

pub use self::error::AllocError;
pub use self::iter::{Slots, SlotsMut};
pub(crate) use self::values::slot_at;
use self::values::{TOO_LARGE_TO_MAKE, Values, can_be_made, slot};
pub use self::values::{slot_bytes, slot_power};
use crate::cpu::{CpuId, IndexKind, slots};
use crate::fence;

#[cfg(all(unix, not(miri)))]
mod arena;
mod error;
#[cfg(not(all(unix, not(miri))))]
mod heap;
mod iter;
#[cfg(all(unix, not(miri)))]
mod spans;
#[cfg(test)]
mod tests;
// Where the loader unloads, and there is asm.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri),
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "s390x",
        target_arch = "powerpc64",
        target_arch = "loongarch64"
    )
))]
mod unload;
mod values;
// A model without unsafe code, which tells Miri nothing.
#[cfg(all(test, not(miri)))]
mod weak;

/// A value for every CPU, for sections to update without locks or atomic instructions.
///
/// There are [`slots`] of them, which never share a cache line. `I` is the kind of index that
/// selects a slot: [`CpuId`] or [`MmCid`](crate::MmCid). Indices of one kind don't select slots of
/// the other.
///
/// As any shared data, the values are changed through atomics or raw pointers; which section
/// changes which slot is what makes that exact.
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
/// [`PerCpu::new`] takes none, so a `static` costs four words. The values are made when they are
/// first used, or by [`PerCpu::allocate`], which says whether there was memory.
///
/// On Unix, each CPU that there can ever be has 64 KiB of address space in which its slots of all
/// `PerCpu`s lie side by side: what one CPU uses often is on few lines and pages, a thousand
/// counters take two pages of each CPU that counts, and CPUs that don't count take nothing but
/// address space. A page is taken when it is first stored to; so if the values are all zero when
/// they are made (atomics, null pointers), it is the CPU's own first update that takes it, and the
/// kernel takes it from the memory that is nearest to that CPU. Other values are stored by the
/// thread that uses them first. Values of more than 64 KiB have address space of their own, with
/// the distance between slots rounded up to a power of two.
///
/// In a process that locks its memory by `mlockall(MCL_FUTURE)`, a page of a slot is locked from
/// when it is first stored to; what no CPU has touched takes no memory there either. But all of it
/// counts towards `RLIMIT_MEMLOCK`: for each CPU that there can be 64 KiB for small values, and
/// what large ones are rounded up to; where the limit is less, there is no memory ([`AllocError`]).
/// `MCL_CURRENT` makes every slot resident that is reserved when it is called, unless it comes with
/// `MCL_ONFAULT`. (Linux 4.4 has both.)
///
/// On machines that do loads in any order (Arm, RISC-V, PowerPC, LoongArch) the first window that
/// uses the values has the kernel put a barrier into each thread, by `membarrier(2)` (Linux 4.14).
/// Where that is refused, windows take the slot that is [shared](slots), under a lock.
///
/// Dropping a `PerCpu` drops its values and leaves the memory to those that are made later. When a
/// shared object is unloaded (by glibc: musl never does), its slots' memory is given back, behind
/// its last destructor.
///
/// A child of `fork` has a copy of the values as they were, as of all memory; what parent and child
/// change from then on is their own.
#[repr(C)]
pub struct PerCpu<T, I = CpuId> {
    /// The first slot, null until first used; the others are a [`slot_bytes`] apart. A window that
    /// reads its index by itself finds it at offset 0.
    first: AtomicPtr<T>,
    /// The bytes of the slots that such a window may use: 0 until [`PerCpu::open`]. At the next
    /// word's offset.
    limit: AtomicUsize,
    /// Makes the value of a slot on first use; without it, it is all zero.
    make: Option<fn(usize) -> T>,
    /// Where the slots lie: [`IndexKind::ARENA`].
    arena: usize,
    owns: PhantomData<T>,
    index: PhantomData<fn(I)>,
}

// SAFETY: hands out `&T` to every thread, and drops, in the dropping thread, values that another
// one made.
unsafe impl<T: Send + Sync, I> Sync for PerCpu<T, I> {}
// SAFETY: owns its values.
unsafe impl<T: Send, I> Send for PerCpu<T, I> {}
// Values stay where they are when it is moved.
impl<T, I> Unpin for PerCpu<T, I> {}
// As of a `Box`: it owns its values, whatever it finds them by.
impl<T: UnwindSafe, I> UnwindSafe for PerCpu<T, I> {}

impl<T: Default, I: IndexKind> PerCpu<T, I> {
    /// Values by `T::default()`, made on first use.
    ///
    /// The first use may come from several threads at once: then more values are made than kept.
    ///
    /// Async-signal-safe.
    ///
    /// Values of 1 GiB and more aren't made this way, but by [`PerCpu::zeroed`]: as a `static` they
    /// don't compile.
    ///
    /// ```compile_fail
    /// static ROWS: rseq::PerCpu<Row> = rseq::PerCpu::new();
    ///
    /// struct Row([u8; 1 << 30]);
    /// impl Default for Row {
    ///     fn default() -> Self {
    ///         Self([0; 1 << 30])
    ///     }
    /// }
    /// ```
    ///
    /// # Panics
    /// If values have 1 GiB or more.
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        // No constant of its own: the error is at the user's line.
        can_be_made::<T>();
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
    /// Async-signal-safe.
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
    /// Async-signal-safe if `make` is.
    ///
    /// ```
    /// let ids = rseq::PerCpu::<usize>::from_fn(|index| index * 10);
    /// assert!(ids.iter().copied().eq((0..rseq::slots()).map(|index| index * 10)));
    /// ```
    ///
    /// # Panics
    /// If there is no memory (see [`PerCpu::try_from_fn`]), and when `make` does.
    #[must_use]
    pub fn from_fn(make: impl FnMut(usize) -> T) -> Self {
        Self::try_from_fn(make).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`PerCpu::from_fn`].
    ///
    /// Async-signal-safe if `make` is.
    ///
    /// ```
    /// let ids = rseq::PerCpu::<usize>::try_from_fn(|index| index * 10)?;
    /// # Ok::<(), rseq::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no memory. Then `make` wasn't called.
    ///
    /// # Panics
    /// When `make` does. Values of 1 GiB and more don't compile.
    pub fn try_from_fn(make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        const { can_be_made::<T>() };
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
    /// Makes the values now, if they aren't yet. From then on no use of them needs memory for
    /// slots, nor panics for want of it.
    ///
    /// Async-signal-safe if `T::default` is.
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
    ///
    /// Async-signal-safe.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always at least one CPU")]
    pub fn len(&self) -> usize {
        slots()
    }

    /// Every slot in the order of its index, from any thread.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// As the first index does.
    pub fn iter(&self) -> Slots<'_, T> {
        Slots::of(self.first())
    }

    /// Every slot in the order of its index, for the only one who uses them.
    ///
    /// Async-signal-safe.
    ///
    /// ```
    /// let mut ids = rseq::PerCpu::<usize>::from_fn(|index| index);
    /// ids.iter_mut().for_each(|id| *id += 100);
    /// assert!(ids.iter().copied().eq(100..100 + rseq::slots()));
    /// ```
    ///
    /// # Panics
    /// As the first index does.
    pub fn iter_mut(&mut self) -> SlotsMut<'_, T> {
        // SAFETY: the values live as long as this, and whoever borrows it alone uses them alone.
        unsafe { SlotsMut::of(self.first()) }
    }

    /// As [`PerCpu::iter`], but `None` as long as nobody used the values: then they aren't made for
    /// it.
    ///
    /// Async-signal-safe.
    ///
    /// ```
    /// let hits = rseq::PerCpu::<u32>::new();
    /// assert!(hits.made().is_none());
    /// hits.allocate().unwrap();
    /// assert!(hits.made().is_some());
    /// ```
    pub fn made(&self) -> Option<Slots<'_, T>> {
        NonNull::new(self.first.load(Acquire)).map(Slots::of)
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

    /// Makes the values, unless another thread is quicker. A section that finds itself here aborts
    /// and starts again: the memory comes from a system call, which a section can't be said to
    /// survive. From here on it isn't armed.
    #[cold]
    #[inline(never)]
    fn first_use(&self) -> Result<NonNull<T>, AllocError> {
        fence::disarm_this_thread();
        let values = match self.make {
            // Values that can't be made have no code for it.
            Some(make) if const { size_of::<T>() < TOO_LARGE_TO_MAKE } => Values::make(self.arena, make)?,
            Some(_) => unreachable!("`new` refuses them"),
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

/// The outcome of letting windows use slots: see [`PerCpu::open`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Opening {
    /// They could before.
    Before,
    /// They can now, or the values were made for them.
    Now,
    /// They can't: the machine would need a barrier in each thread for it, and the kernel refuses
    /// that.
    Refused,
}

impl<T, I: IndexKind> PerCpu<T, I> {
    /// Lets windows that read their index by themselves use these slots, where sections are
    /// restartable.
    #[doc(hidden)]
    #[must_use]
    pub fn open(&self) -> Opening {
        self.open_by(fence::orders_loads)
    }

    /// The same by a fence of the caller's, for what is stored before and after it.
    ///
    /// A window loads the limit, compares, and loads the first slot, and not every machine does
    /// these loads in this order. So the limit is stored when everybody sees the first slot,
    /// whoever has stored that, and however often he was interrupted between the two.
    fn open_by(&self, fence: impl FnOnce() -> bool) -> Opening {
        let made = self.first.load(Relaxed).is_null();
        self.first();
        let bytes = I::limit() * slot_bytes::<T>();
        if self.limit.load(Relaxed) == bytes {
            return if made { Opening::Now } else { Opening::Before };
        }
        if !fence() {
            return Opening::Refused;
        }
        // After the memory: whoever sees the limit sees the slots.
        self.limit.store(bytes, Release);
        Opening::Now
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
        // SAFETY: `first` is the first of `slots()` values, which live as long as `self`; every
        // index is below that number.
        unsafe { slot(self.first(), index.number()).as_ref() }
    }
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

impl<'a, T, I> IntoIterator for &'a mut PerCpu<T, I> {
    type Item = &'a mut T;
    type IntoIter = SlotsMut<'a, T>;

    fn into_iter(self) -> SlotsMut<'a, T> {
        self.iter_mut()
    }
}

impl<'a, T, I> IntoIterator for &'a PerCpu<T, I> {
    type Item = &'a T;
    type IntoIter = Slots<'a, T>;

    fn into_iter(self) -> Slots<'a, T> {
        self.iter()
    }
}

const _: () = {
    // Windows find the two words there, whatever the type of the values.
    assert!(core::mem::offset_of!(PerCpu<u8>, first) == 0);
    assert!(core::mem::offset_of!(PerCpu<u8>, limit) == size_of::<usize>());
};
