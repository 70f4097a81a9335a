//! How often which values occurred.

#[cfg(feature = "alloc")]
mod bucket;
mod grid;
#[cfg(feature = "alloc")]
mod snapshot;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(feature = "alloc")]
pub use self::bucket::Bucket;
use self::grid::{Grid, index};
#[cfg(feature = "serde")]
pub(crate) use self::snapshot::MOST_BUCKETS;
#[cfg(feature = "alloc")]
pub use self::snapshot::{DifferentParts, Snapshot};
#[cfg(not(target_pointer_width = "64"))]
use crate::current;
#[cfg(target_pointer_width = "64")]
use crate::rseq;
use crate::{AllocError, PerCpu};

/// How often which values occurred: many threads record, few look.
///
/// Values are `u64`s of any unit (nanoseconds, bytes). They are counted in *buckets*: below `PARTS`
/// each value has its own, and from there on each octave, from one power of two to the next, is
/// divided into `PARTS` of the same width. So a bucket is at most 1/`PARTS` as wide as its smallest
/// value: a quantile is known that exactly (3 % for 32), at whatever magnitude.
///
/// ```
/// use rseq::Histogram;
///
/// static LATENCY: Histogram = Histogram::new();
///
/// (1..=1000).for_each(|nanoseconds| LATENCY.record(nanoseconds));
/// let seen = LATENCY.snapshot();
/// assert_eq!(seen.count(), 1000);
/// let median = seen.quantile(0.5).unwrap();
/// assert!(median.contains(500));
/// assert!(median.last() - median.first() <= 500 / 32);
/// ```
///
/// To record is one plain instruction on the CPU's own part, in a section (on machines of 32 bits
/// an atomic one, as of [`Counter`](crate::Counter)), and a few to find the bucket. It may be done
/// from everywhere but in the `prepare` of a section.
///
/// *Memory*: 512 × `PARTS` bytes of address space for each CPU, of which those pages (4 KiB) are
/// taken whose buckets a CPU counts in: values within a factor of 64 take about three at 32 parts.
///
/// `PARTS` is a power of two from 1 to 1024.
pub struct Histogram<const PARTS: usize = 32> {
    parts: PerCpu<Grid<PARTS>>,
}

impl<const PARTS: usize> Histogram<PARTS> {
    /// Without a value. It takes its memory on first use.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(PARTS.is_power_of_two() && PARTS <= 1024, "PARTS is a power of two from 1 to 1024") };
        // SAFETY: counts of 0.
        Self { parts: unsafe { PerCpu::zeroed() } }
    }

    /// Takes its memory now, so that recording never panics.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.parts.allocate()
    }

    /// Counts a value.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If this is its first use, [`Histogram::allocate`] wasn't called, and there is no memory.
    #[inline]
    pub fn record(&self, value: u64) {
        #[cfg(target_pointer_width = "64")]
        {
            let index = index::<PARTS>(value);
            // SAFETY: every value's index is that of a bucket.
            unsafe {
                rseq! { commit |cpu| add(&self.parts[cpu].counts[index], 1) }
            }
        }
        #[cfg(not(target_pointer_width = "64"))]
        self.record_many(value, 1);
    }

    /// Counts a value so many times, at the cost of one. The count of a bucket wraps at 2^64.
    ///
    /// Async-signal-safe.
    ///
    /// ```
    /// let sizes: rseq::Histogram = rseq::Histogram::new();
    /// sizes.record_many(512, 1_000_000);
    /// assert_eq!(sizes.count(), 1_000_000);
    /// ```
    ///
    /// # Panics
    /// As [`Histogram::record`].
    #[inline]
    pub fn record_many(&self, value: u64, times: u64) {
        let index = index::<PARTS>(value);
        // SAFETY: every value's index is that of a bucket.
        #[cfg(target_pointer_width = "64")]
        unsafe {
            rseq! { commit |cpu| add(&self.parts[cpu].counts[index], times) }
        }
        #[cfg(not(target_pointer_width = "64"))]
        self.parts[current::cpu()].counts()[index].fetch_add(times, Relaxed);
    }

    /// How many values were recorded, as of [`Counter::sum`](crate::Counter::sum); `u64::MAX` if
    /// there are more, as each bucket can hold that many.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.counts().flatten().map(|count| count.load(Relaxed));
        let total = counts.map(u128::from).sum::<u128>();
        u64::try_from(total).unwrap_or_else(|_| self.count_by_bucket())
    }

    /// [`Histogram::count`] where a bucket may have wrapped.
    #[cold]
    fn count_by_bucket(&self) -> u64 {
        let of_cpu = |bucket: usize| move |counts: &[AtomicU64]| counts[bucket].load(Relaxed);
        let counts =
            (0..Grid::<PARTS>::BUCKETS).map(|bucket| self.counts().map(of_cpu(bucket)).fold(0, u64::wrapping_add));
        counts.fold(0, u64::saturating_add)
    }

    /// The counts so far. Values that are recorded meanwhile may be in it or not.
    ///
    /// Not async-signal-safe: it allocates.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut sums = alloc::vec![0_u64; Grid::<PARTS>::BUCKETS];
        for counts in self.counts() {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.wrapping_add(count.load(Relaxed));
            }
        }
        Snapshot::of(PARTS, sums)
    }

    /// The counts of each CPU.
    fn counts(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.parts.made().into_iter().flatten().map(Grid::counts)
    }
}

impl<const PARTS: usize> Default for Histogram<PARTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PARTS: usize> fmt::Debug for Histogram<PARTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count()).finish_non_exhaustive()
    }
}
