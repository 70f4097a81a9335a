//! One value per slot.

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Index;
use core::panic::UnwindSafe;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu::{CpuId, IndexKind, slots};
use crate::fence;

#[cfg(all(unix, not(miri)))]
mod arena;
#[cfg(not(all(unix, not(miri))))]
mod heap;
#[cfg(all(unix, not(miri)))]
mod spans;
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
// A model without unsafe code, which tells Miri nothing.
#[cfg(all(test, not(miri)))]
mod weak;
#[cfg(all(unix, not(miri)))]
use arena as memory;
#[cfg(not(all(unix, not(miri))))]
use heap as memory;

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

/// There is no memory for the slots of a [`PerCpu`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError {
    bytes: usize,
}

impl AllocError {
    /// The bytes that were asked for, of address space; `usize::MAX` if there can't be as many.
    ///
    /// Async-signal-safe.
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

/// The slot that this address lies in: its arena and index. `None` if it lies in none, or where
/// nobody knows. Takes no lock, and may be asked in a handler.
pub(crate) fn slot_at(address: usize) -> Option<(usize, usize)> {
    ARENAS.iter().enumerate().find_map(|(arena, memory)| Some((arena, memory.index_of(address)?)))
}

/// The distance in bytes from one slot to the next.
#[must_use]
pub const fn slot_bytes<T>() -> usize {
    memory::stride::<T>()
}

/// The same as a power of two, for windows: wherever there are any, the distance is one.
#[must_use]
pub const fn slot_power<T>() -> u32 {
    assert!(slot_bytes::<T>().is_power_of_two());
    slot_bytes::<T>().trailing_zeros()
}

/// Values of so many bytes are made of zeroes alone: others are made on the stack, and no thread
/// has one for them, nor has every machine code for it.
const TOO_LARGE_TO_MAKE: usize = 1 << 30;

/// Refuses such values where they aren't of zeroes.
#[track_caller]
const fn can_be_made<T>() {
    assert!(size_of::<T>() < TOO_LARGE_TO_MAKE, "values of 1 GiB and more are made of zeroes alone: `PerCpu::zeroed`");
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
    /// Async-signal-safe if `make` is.
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
    /// When `make` does. Values of 1 GiB and more don't compile.
    pub fn try_with(make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
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
            // What can't be made has no code for it.
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

/// What came of letting windows use slots: see [`PerCpu::open`].
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
    type IntoIter = Slots<'a, T>;

    fn into_iter(self) -> Slots<'a, T> {
        self.iter()
    }
}

/// The slots of a [`PerCpu`]: see [`PerCpu::iter`].
pub struct Slots<'a, T> {
    first: NonNull<T>,
    indices: core::ops::Range<usize>,
    slots: PhantomData<&'a T>,
}

// SAFETY: as the references that it gives.
unsafe impl<T: Sync> Send for Slots<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Slots<'_, T> {}

impl<T> Slots<'_, T> {
    fn of(first: NonNull<T>) -> Self {
        Self { first, indices: 0..slots(), slots: PhantomData }
    }
}

// Not derived: that would ask for values that can be cloned.
impl<T> Clone for Slots<'_, T> {
    fn clone(&self) -> Self {
        Self { indices: self.indices.clone(), ..*self }
    }
}

impl<'a, T> Iterator for Slots<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        // SAFETY: the values live as long as the `PerCpu` is borrowed; the indices are those of
        // slots.
        self.indices.next().map(|index| unsafe { slot(self.first, index).as_ref() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl<T> ExactSizeIterator for Slots<'_, T> {}

impl<T: fmt::Debug> fmt::Debug for Slots<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
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

    /// Values are made on the stack. Those of zeroes alone, which may be large, aren't, so this
    /// mustn't become a part of a function that has the choice.
    #[inline(never)]
    fn make(arena: usize, mut make: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        let mut values = Self::memory(arena)?;
        while values.made < slots() {
            let value = ManuallyDrop::new(make(values.made));
            // SAFETY: a slot's memory, which is zero; the value is used no more. A panic in `make`
            // drops those before.
            unsafe { memory::put(slot(values.first, values.made), &raw const *value) };
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
    /// If the drop of a value panics, the others are dropped on the way out, as of a slice.
    fn drop(&mut self) {
        let memory = Memory { arena: self.arena, first: self.first };
        let mut rest = Rest(self.first, 0..self.made);
        rest.drop_each();
        drop(rest);
        drop(memory);
    }
}

/// Values that are to be dropped: those of these slots.
struct Rest<T>(NonNull<T>, core::ops::Range<usize>);

impl<T> Rest<T> {
    fn drop_each(&mut self) {
        for index in self.1.by_ref() {
            // SAFETY: its maker's: the slot holds a value, and nobody else refers to it.
            unsafe { slot(self.0, index).drop_in_place() };
        }
    }
}

impl<T> Drop for Rest<T> {
    fn drop(&mut self) {
        self.drop_each();
    }
}

/// Memory that is to be given back.
struct Memory<T> {
    arena: usize,
    first: NonNull<T>,
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: its maker's: it was allocated for a type of this layout, and is in use no more.
        unsafe { memory::free(&ARENAS[self.arena], self.first.cast(), Layout::new::<T>()) };
    }
}

const _: () = {
    // Windows find the two words there, whatever the type of the values.
    assert!(core::mem::offset_of!(PerCpu<u8>, first) == 0);
    assert!(core::mem::offset_of!(PerCpu<u8>, limit) == size_of::<usize>());
};

/// Of either memory.
#[cfg(test)]
mod tests {
    extern crate std;

    use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
    use std::boxed::Box;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::vec::Vec;

    #[cfg(all(unix, not(miri)))]
    use super::slot_at;
    use super::{Opening, PerCpu, slot_bytes};
    use crate::cpu::{CpuId, IndexKind, MmCid, slots};

    #[repr(align(4096))]
    struct Page(AtomicU8);

    /// Values that may be zero lie apart, aligned, as zeroes, a slot's bytes from each other.
    #[test]
    fn values_of_every_size_lie_apart() {
        fn lie_apart<T>() {
            for _ in 0..2 {
                // SAFETY: the types below may be zero.
                let (one, other): (PerCpu<T>, PerCpu<T, MmCid>) = unsafe { (PerCpu::zeroed(), PerCpu::zeroed()) };
                let mut places: Vec<usize> =
                    one.iter().chain(&other).map(|value| core::ptr::from_ref(value).addr()).collect();
                assert!(places[..slots()].windows(2).all(|pair| pair[1] - pair[0] == slot_bytes::<T>()));
                places.sort_unstable();
                assert!(places.iter().all(|place| place.is_multiple_of(align_of::<T>())));
                assert!(places.windows(2).all(|pair| pair[0] / 64 < pair[1] / 64 || size_of::<T>() == 0));
                assert!(places.windows(2).all(|pair| pair[0] + size_of::<T>() <= pair[1]));
                for value in one.iter().chain(&other) {
                    // SAFETY: the bytes of a value, which are all atomic.
                    let bytes =
                        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) };
                    assert!(bytes.iter().all(|byte: &AtomicU8| byte.swap(1, Relaxed) == 0));
                }
            }
        }
        lie_apart::<()>();
        lie_apart::<AtomicU8>();
        lie_apart::<[AtomicU8; 24]>();
        lie_apart::<[AtomicU8; 129]>();
        lie_apart::<[AtomicU8; 1000]>();
        lie_apart::<[Page; 0]>();
    }

    #[test]
    fn values_aligned_to_a_page() {
        let pages = PerCpu::<Page>::with(|index| Page(AtomicU8::new(index as u8)));
        for (index, page) in pages.iter().enumerate() {
            assert!(core::ptr::from_ref(page).addr().is_multiple_of(4096));
            assert_eq!(page.0.load(Relaxed), index as u8);
        }
    }

    /// Every byte of a slot is known as its index's, whatever its size; the bytes around all slots,
    /// and those of slots that are gone, are nobody's.
    #[cfg(all(unix, not(miri)))]
    #[test]
    fn addresses_tell_their_slots() {
        fn tell<T>() {
            // SAFETY: the types below may be zero.
            let (one, other): (PerCpu<T>, PerCpu<T, MmCid>) = unsafe { (PerCpu::zeroed(), PerCpu::zeroed()) };
            for (arena, slots) in [one.iter(), other.iter()].into_iter().enumerate() {
                for (index, value) in slots.enumerate() {
                    let first = core::ptr::from_ref(value).addr();
                    let last = first + size_of::<T>() - 1;
                    assert_eq!([first, last].map(slot_at), [Some((arena, index)); 2]);
                }
            }
        }
        tell::<u8>();
        tell::<[u64; 64]>();
        tell::<[u64; 65]>();
        tell::<[u8; 64 << 10]>();
        tell::<[u8; 100_000]>();
        // SAFETY: bytes may be zero.
        let large: PerCpu<[u8; 1 << 20]> = unsafe { PerCpu::zeroed() };
        let first = core::ptr::from_ref(large.iter().next().unwrap()).addr();
        assert_eq!(slot_at(first), Some((0, 0)));
        drop(large);
        assert_eq!(slot_at(first), None);
        let local = 0_u64;
        static SHARED: AtomicUsize = AtomicUsize::new(0);
        assert_eq!([core::ptr::from_ref(&local).addr(), SHARED.as_ptr().addr(), 0, usize::MAX].map(slot_at), [None; 4]);
    }

    /// What was made before a panic is dropped, and only that.
    #[test]
    fn a_panic_drops_what_was_made() {
        struct Noted<'n>(&'n AtomicUsize, #[allow(dead_code)] Box<u8>);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        for panics_at in 0..slots().min(4) {
            let dropped = AtomicUsize::new(0);
            let made = catch_unwind(AssertUnwindSafe(|| {
                PerCpu::<Noted>::try_with(|index| {
                    if index == panics_at {
                        resume_unwind(Box::new(index));
                    }
                    Noted(&dropped, Box::new(0))
                })
                .map(drop)
            }));
            assert_eq!(made.unwrap_err().downcast_ref(), Some(&panics_at));
            assert_eq!(dropped.into_inner(), panics_at);
        }
    }

    /// Whoever opens slots, the first time or again, stores the limit behind a fence, ahead of
    /// which the first slot was there. Without a fence windows can't use them.
    #[test]
    fn windows_find_the_first_slot_before_the_limit() {
        let _restartable_or_not = crate::status();
        let limit = CpuId::limit() * slot_bytes::<AtomicUsize>();
        let found =
            |slots: &PerCpu<AtomicUsize>| [!slots.first.load(Relaxed).is_null(), slots.limit.load(Relaxed) != 0];
        let open = |slots: &PerCpu<AtomicUsize>, succeeds| {
            let mut fences = 0;
            let opening = slots.open_by(|| {
                assert_eq!(found(slots), [true, false]);
                fences += 1;
                succeeds
            });
            (opening, fences)
        };
        let (slots, made) = (PerCpu::new(), PerCpu::with(|_| AtomicUsize::new(0)));
        if limit == 0 {
            // No window ever uses them.
            assert_eq!([open(&slots, true), open(&slots, true)], [(Opening::Now, 0), (Opening::Before, 0)]);
            return;
        }
        for slots in [&slots, &made] {
            assert_eq!([open(slots, false), open(slots, false)], [(Opening::Refused, 1); 2]);
            assert_eq!(found(slots), [true, false]);
            assert_eq!([open(slots, true), open(slots, true)], [(Opening::Now, 1), (Opening::Before, 0)]);
            assert_eq!(slots.limit.load(Relaxed), limit);
        }
    }

    /// If the drop of one panics, the others are dropped all the same, and the memory is given back
    /// (as Miri would say).
    #[test]
    fn a_drop_that_panics_leaves_out_no_other() {
        struct Noted<'n>(&'n AtomicUsize, usize, #[allow(dead_code)] Box<u8>);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                if self.0.fetch_add(1, Relaxed) == 0 {
                    resume_unwind(Box::new(self.1));
                }
            }
        }
        let dropped = AtomicUsize::new(0);
        let values = PerCpu::<Noted>::with(|index| Noted(&dropped, index, Box::new(0)));
        let panic = catch_unwind(AssertUnwindSafe(|| drop(values))).unwrap_err();
        assert_eq!((panic.downcast_ref(), dropped.into_inner()), (Some(&0_usize), slots()));
    }

    /// Padding has no value, and isn't taken for one.
    #[test]
    fn values_with_padding() {
        let pairs = PerCpu::<(u8, u64)>::with(|index| (index as u8, 7));
        assert!(pairs.iter().copied().eq((0..slots()).map(|index| (index as u8, 7))));
        let zeroes = PerCpu::<(u8, u64)>::new();
        assert!(zeroes.made().is_none());
        assert_eq!(zeroes[CpuId::new(0).unwrap()], (0, 0));
        assert!(zeroes.iter().all(|pair| *pair == (0, 0)));
    }
}
