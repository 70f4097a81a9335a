//! What a histogram held at some time.

use alloc::vec::Vec;
use core::fmt;

use super::bucket::Bucket;

/// What a [`Histogram`](super::Histogram) held at some time: a value of its own, to be asked, kept, merged and sent.
///
/// ```
/// let latency: rseq::Histogram = rseq::Histogram::new();
/// [10, 20, 30, 40_000].into_iter().for_each(|value| latency.record(value));
///
/// let seen = latency.snapshot();
/// assert_eq!(seen.count(), 4);
/// assert!(seen.quantile(0.5).unwrap().contains(20));
/// assert!(seen.max().unwrap().contains(40_000));
/// assert_eq!(seen.count_up_to(100), 3);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// How many parts an octave has.
    parts: usize,
    /// By bucket; the last isn't 0.
    counts: Vec<u64>,
}

/// Snapshots of histograms that divide octaves differently can't be taken together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DifferentParts {
    parts: [usize; 2],
}

impl fmt::Display for DifferentParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = self.parts;
        write!(f, "histograms of {one} and of {other} parts an octave count in different buckets")
    }
}

impl core::error::Error for DifferentParts {}

impl Snapshot {
    /// Without a value, of a histogram of so many parts.
    ///
    /// # Panics
    /// If there is no such histogram.
    #[must_use]
    pub fn empty(parts: usize) -> Self {
        assert!(parts.is_power_of_two() && parts <= 1024, "parts are a power of two from 1 to 1024");
        Self { parts, counts: Vec::new() }
    }

    /// Of these counts, by bucket.
    pub(super) fn of(parts: usize, mut counts: Vec<u64>) -> Self {
        let used = counts.iter().rposition(|count| *count != 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        Self { parts, counts }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets that have values, from the smallest, and how many.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = (Bucket, u64)> + '_ {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(index, count)| (Bucket::at(index, self.parts), *count))
    }

    /// The bucket of the value that `quantile` of all values don't exceed (0.5: the median; 0: the smallest; 1: the largest); `None` without values.
    ///
    /// It is the bucket of the very value that sorting would find: the one of rank ⌈`quantile` × count⌉, and the first for 0.
    ///
    /// # Panics
    /// If `quantile` isn't from 0 to 1.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Bucket> {
        assert!((0.0..=1.0).contains(&quantile), "a quantile is from 0 to 1, not {quantile}");
        let count = self.count();
        // Of more than 2^53 values the number isn't exact any more, and the last might be missed.
        let rank = if quantile < 1.0 { ceil(quantile * count as f64).clamp(1, count.max(1)) } else { count };
        let mut up_to = 0;
        let found = self.buckets().find(|(_, count)| {
            up_to += count;
            up_to >= rank
        });
        found.map(|(bucket, _)| bucket)
    }

    /// The bucket of the smallest value.
    #[must_use]
    pub fn min(&self) -> Option<Bucket> {
        Some(self.buckets().next()?.0)
    }

    /// The bucket of the largest value.
    #[must_use]
    pub fn max(&self) -> Option<Bucket> {
        Some(self.buckets().next_back()?.0)
    }

    /// The sum of all values, each taken for the middle of its bucket: wrong by at most half of a part (1.6 % for 32 parts).
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.buckets().map(|(bucket, count)| bucket.middle() as f64 * count as f64).sum()
    }

    /// The mean, as exact as [`Snapshot::sum`]; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum() / count as f64)
    }

    /// How many values are in buckets that have none above `value`: exact where `value` is the last of its bucket, as it is below 2 × parts and in front of powers of two.
    #[must_use]
    pub fn count_up_to(&self, value: u64) -> u64 {
        self.buckets().take_while(|(bucket, _)| bucket.last() <= value).map(|(_, count)| count).sum()
    }

    /// Adds the values of another one.
    ///
    /// # Errors
    /// If the histograms have different parts. Then nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), DifferentParts> {
        self.comparable(other)?;
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.wrapping_add(*more);
        }
        Ok(())
    }

    /// What came after an earlier snapshot of the same histogram.
    ///
    /// ```
    /// let latency: rseq::Histogram = rseq::Histogram::new();
    /// latency.record(10);
    /// let before = latency.snapshot();
    /// latency.record(20);
    /// let since = latency.snapshot().since(&before)?;
    /// assert_eq!((since.count(), since.count_up_to(10)), (1, 0));
    /// # Ok::<(), rseq::DifferentParts>(())
    /// ```
    ///
    /// # Errors
    /// If the histograms have different parts.
    pub fn since(&self, earlier: &Self) -> Result<Self, DifferentParts> {
        self.comparable(earlier)?;
        let before = earlier.counts.iter().copied().chain(core::iter::repeat(0));
        let counts = self.counts.iter().zip(before).map(|(count, before)| count.saturating_sub(before)).collect();
        Ok(Self::of(self.parts, counts))
    }

    fn comparable(&self, other: &Self) -> Result<(), DifferentParts> {
        let parts = [self.parts, other.parts];
        if parts[0] == parts[1] { Ok(()) } else { Err(DifferentParts { parts }) }
    }
}

/// The least whole number that isn't less. (There is no `f64::ceil` without std.)
fn ceil(number: f64) -> u64 {
    let floor = number as u64;
    if floor as f64 == number { floor } else { floor + 1 }
}
