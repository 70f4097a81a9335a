//! The two kinds of index that select a slot, and how many of them can occur.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::abi::Rseq;
use crate::arch::FAST;
use crate::sys;

/// The index of a per-CPU slot, as a section sees it: the CPU that the section runs on.
///
/// One index beyond the CPUs' is shared by the threads that have no CPU of their own to go by: see
/// [`slots`]. In portable mode the index is a slot that the section has locked, not the CPU.
///
/// ```
/// use rseq::CpuId;
/// let first = CpuId::new(0).expect("every machine has a CPU");
/// assert_eq!(first.get(), 0);
/// assert_eq!(first.to_string(), "0");
/// assert_eq!(CpuId::new(usize::MAX), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuId(usize);

/// The other kind of index: the thread's *concurrency id* in its process, a number that no other
/// thread of the process has while this one runs (`mm_cid`, Linux 6.3:
/// `include/uapi/linux/rseq.h`).
///
/// The kernel hands these out from 0 on, so that a process with few threads, or one that is kept to
/// few CPUs, uses few slots on a machine with many CPUs: less memory touched, fewer slots to sum
/// up. A section whose index is an `MmCid` works on a [`PerCpu<T, MmCid>`](crate::PerCpu); on the
/// same slots the two kinds would let two threads in at once, so they are two types.
///
/// Where the kernel has no such ids ([`Status::has_mm_cid`](crate::Status::has_mm_cid)), sections
/// with this index run in portable mode, under locks.
///
/// ```
/// use rseq::{rseq, MmCid, PerCpu};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// static HITS: PerCpu<AtomicU64, MmCid> = PerCpu::new();
///
/// rseq! { commit |cid: MmCid| add(&HITS[cid], 1) }
/// assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 1);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MmCid(usize);

/// A kind of index: [`CpuId`] or [`MmCid`]. Not for users to implement.
pub trait IndexKind: Copy + sealed::Sealed {
    /// Which of [`PerCpu`](crate::PerCpu)'s arenas has its slots.
    #[doc(hidden)]
    const ARENA: usize;
    /// The index of this number.
    ///
    /// # Safety
    /// It is below [`slots`].
    #[doc(hidden)]
    unsafe fn checked(index: usize) -> Self;
    /// The index as a number.
    #[doc(hidden)]
    fn number(self) -> usize;
    /// Indices below this one have a slot of their own in sections that run restartably; 0 if none
    /// does.
    #[doc(hidden)]
    fn limit() -> usize;
    /// The calling thread's index, `None` if it has no slot of its own.
    ///
    /// # Safety
    /// `area` is the calling thread's and registered; `cpu` was read from it and is below the
    /// number of CPUs.
    #[doc(hidden)]
    unsafe fn read(area: *const Rseq, cpu: usize) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! index_kind {
    ($kind:ident, $arena:literal, $word:ident, ($area:pat, $cpu:pat) => $read:expr) => {
        impl $kind {
            /// The slot with this index, or `None` if there is none: see [`slots`].
            ///
            /// Async-signal-safe.
            #[must_use]
            pub fn new(index: usize) -> Option<Self> {
                (index < slots()).then_some(Self(index))
            }

            /// The index as a number, always below [`slots`].
            ///
            /// Async-signal-safe.
            #[inline(always)]
            #[must_use]
            pub const fn get(self) -> usize {
                self.0
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl sealed::Sealed for $kind {}
        impl IndexKind for $kind {
            const ARENA: usize = $arena;
            #[inline(always)]
            unsafe fn checked(index: usize) -> Self {
                Self(index)
            }
            #[inline(always)]
            fn number(self) -> usize {
                self.0
            }
            #[inline(always)]
            fn limit() -> usize {
                FAST.$word.load(Relaxed)
            }
            #[inline(always)]
            unsafe fn read($area: *const Rseq, $cpu: usize) -> Option<Self> {
                $read.map(Self)
            }
        }
    };
}

index_kind!(CpuId, 0, cpus, (_, cpu) => Some(cpu));
index_kind!(MmCid, 1, cids, (area, _) => {
    // SAFETY: the caller's: the area is the thread's own.
    let cid = unsafe { (*area).mm_cid.load(Relaxed) } as usize;
    (cid < Self::limit()).then_some(cid)
});

/// The number of slots in every [`PerCpu`](crate::PerCpu): one per possible CPU, and a last one
/// that is shared, under a lock, by the threads that couldn't be registered with the kernel.
///
/// It never changes while the program runs. CPUs that can be plugged in later count from the start
/// (`/sys/devices/system/cpu/possible`).
///
/// Async-signal-safe.
///
/// ```
/// assert!(rseq::slots() >= 2);
/// ```
#[must_use]
pub fn slots() -> usize {
    possible() + 1
}

/// The index of the shared slot.
pub(crate) fn shared_slot() -> usize {
    possible()
}

/// The count of [`possible`]; 0 before it did. (`gdb/rseq.py` reads it as well.)
pub(crate) static POSSIBLE: AtomicUsize = AtomicUsize::new(0);

/// The number of CPU ids that the kernel can ever report. No more threads than that run at once, so
/// it bounds concurrency ids as well.
pub(crate) fn possible() -> usize {
    match POSSIBLE.load(Relaxed) {
        // Counted by whoever comes first; every later reader sees that same number, even should the
        // files disagree with themselves.
        0 => {
            let counted = sys::possible_cpus() as usize;
            POSSIBLE.compare_exchange(0, counted, Relaxed, Relaxed).map_or_else(|first| first, |_| counted)
        }
        known => known,
    }
}
