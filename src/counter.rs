//! A number that many threads add to.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

#[cfg(not(target_pointer_width = "64"))]
use crate::current;
#[cfg(target_pointer_width = "64")]
use crate::rseq;
use crate::{AllocError, PerCpu};

/// A number that many threads add to and few read.
///
/// An addition is one plain instruction on the CPU's own part, in a section; reading it sums up all
/// parts. (On machines of 32 bits, which have no such instruction for the 64 bits of a part, it is
/// an atomic one on the same part, so it is slower there, though CPUs still don't wait for each
/// other.)
///
/// ```
/// use rseq::Counter;
///
/// static REQUESTS: Counter = Counter::new();
///
/// std::thread::scope(|scope| {
///     for _ in 0..8 {
///         scope.spawn(|| (0..1000).for_each(|_| REQUESTS.inc()));
///     }
/// });
/// assert_eq!(REQUESTS.sum(), 8000);
/// ```
///
/// It may be added to from everywhere, signal handlers and allocators included, but not in the
/// `prepare` of a section: that one would never commit.
///
/// *Memory*: 8 bytes of each CPU that adds to it, side by side with those of other counters (see
/// [`PerCpu`]). It doesn't depend on the number of threads.
///
/// With the feature `serde` it is serialised as its [`sum`](Counter::sum).
#[derive(Default)]
// In this order: an addition finds its part at the counter's own address.
#[repr(C)]
pub struct Counter {
    parts: PerCpu<AtomicU64>,
    /// The part of their sum that was taken.
    taken: AtomicU64,
}

impl Counter {
    /// A counter at 0. It takes its memory on first use.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new() -> Self {
        Self { parts: PerCpu::new(), taken: AtomicU64::new(0) }
    }

    /// Takes its memory now, so that adding never panics.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.parts.allocate()
    }

    /// Adds 1.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If this is its first use, [`Counter::allocate`] wasn't called, and there is no memory.
    #[inline(always)]
    pub fn inc(&self) {
        #[cfg(target_pointer_width = "64")]
        rseq! { commit |cpu| add(&self.parts[cpu], 1) }
        #[cfg(not(target_pointer_width = "64"))]
        self.add(1);
    }

    /// Adds `number`, wrapping at 2^64.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// As [`Counter::inc`].
    #[inline(always)]
    pub fn add(&self, number: u64) {
        #[cfg(target_pointer_width = "64")]
        rseq! { commit |cpu| add(&self.parts[cpu], number) }
        #[cfg(not(target_pointer_width = "64"))]
        self.parts[current::cpu()].fetch_add(number, Relaxed);
    }

    /// All that was added and not [taken](Counter::take): at least what every thread had added
    /// before whose additions this thread knows of (by joining it, say, or by a message), and never
    /// less than an earlier sum, unless it wrapped or something was taken.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn sum(&self) -> u64 {
        // First: so all that was taken is among what was added, which the taker knew of.
        let taken = self.taken.load(Acquire);
        self.added().wrapping_sub(taken)
    }

    /// The [`sum`](Counter::sum), which begins again at 0: each addition is in what one call takes,
    /// or in the sum. For reports of what came since the last one.
    ///
    /// Additions go on meanwhile and cost what they did: no part is changed, but what was taken is
    /// noted.
    ///
    /// Async-signal-safe.
    ///
    /// ```
    /// use rseq::Counter;
    ///
    /// static REQUESTS: Counter = Counter::new();
    /// REQUESTS.add(3);
    /// assert_eq!(REQUESTS.take(), 3);
    /// REQUESTS.inc();
    /// assert_eq!((REQUESTS.take(), REQUESTS.sum()), (1, 0));
    /// ```
    pub fn take(&self) -> u64 {
        let mut taken = self.taken.load(Acquire);
        loop {
            let added = self.added();
            match self.taken.compare_exchange_weak(taken, added, Release, Acquire) {
                Ok(_) => return added.wrapping_sub(taken),
                Err(by_another) => taken = by_another,
            }
        }
    }

    /// All that was ever added.
    fn added(&self) -> u64 {
        let parts = self.parts.made().into_iter().flatten();
        parts.fold(0, |sum, part| sum.wrapping_add(part.load(Relaxed)))
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.sum()).finish()
    }
}
