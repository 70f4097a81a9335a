//! CPU ids, and how many of them can occur.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::sys;

/// The index of a per-CPU slot, as a section sees it: the CPU that the section runs on.
///
/// One index beyond the CPUs' is shared by the threads that have no CPU of their own to go by: see [`slots`]. In portable
/// mode the index is a slot that the section has locked, not the CPU.
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

impl CpuId {
    /// The slot with this index, or `None` if there is none: see [`slots`].
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        (index < slots()).then_some(Self(index))
    }

    /// An index that the caller has compared with the number of slots.
    #[inline(always)]
    pub(crate) const fn checked(index: usize) -> Self {
        Self(index)
    }

    /// The index as a number, always below [`slots`].
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of slots in every [`PerCpu`](crate::PerCpu): one per possible CPU, and a last one that is shared, under a lock, by the threads
/// that couldn't be registered with the kernel.
///
/// It never changes while the program runs. CPUs that can be plugged in later count from the start
/// (`/sys/devices/system/cpu/possible`).
///
/// ```
/// assert!(rseq::slots() >= 2);
/// ```
#[must_use]
pub fn slots() -> usize {
    possible() + 1
}

/// The index of the shared slot.
pub(crate) fn shared_slot() -> CpuId {
    CpuId(possible())
}

/// The number of CPU ids that the kernel can ever report.
pub(crate) fn possible() -> usize {
    static POSSIBLE: AtomicUsize = AtomicUsize::new(0);
    match POSSIBLE.load(Relaxed) {
        // Counted by whoever comes first; every later reader sees that same number, even should the files disagree with themselves.
        0 => {
            let counted = sys::possible_cpus() as usize;
            POSSIBLE.compare_exchange(0, counted, Relaxed, Relaxed).map_or_else(|first| first, |_| counted)
        }
        known => known,
    }
}
