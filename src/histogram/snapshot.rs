//! The counts of a histogram at some time.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use super::bucket::Bucket;
#[cfg(feature = "serde")]
use super::grid::{OCTAVES, index_among};

/// The counts of a [`Histogram`](super::Histogram) at some time: a value of its own, to be asked,
/// kept, merged and sent.
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
///
/// With the feature `serde` it is serialised as its parts and its buckets, each the first value and
/// the count: `{"parts":32,"buckets":[[10,1],[39936,2]]}`. What is deserialised is checked:
/// anything that no histogram can have held is an error, and no input, however long, takes more
/// than 4 MiB.
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

/// The parts that an octave may have at most.
const MOST_PARTS: usize = 1024;

/// No snapshot has more buckets.
#[cfg(feature = "serde")]
pub(crate) const MOST_BUCKETS: usize = OCTAVES * MOST_PARTS;

/// Why parts and buckets that came from elsewhere are no snapshot.
#[cfg(feature = "serde")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoSnapshot {
    /// There is no histogram of so many parts.
    Parts(usize),
    /// A bucket is empty, and should have been left out.
    Empty(u64),
    /// No bucket begins with this value.
    NoFirst(u64),
    /// A bucket is there twice, or after a larger one.
    Unsorted(u64),
}

#[cfg(feature = "serde")]
impl fmt::Display for NoSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts(parts) => write!(f, "parts are a power of two from 1 to {MOST_PARTS}, not {parts}"),
            Self::Empty(first) => write!(f, "the bucket of {first} has no value"),
            Self::NoFirst(value) => write!(f, "no bucket begins with {value}"),
            Self::Unsorted(first) => write!(f, "the bucket of {first} is there twice, or after a larger one"),
        }
    }
}

impl Snapshot {
    /// Without a value, of a histogram of so many parts.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If there is no such histogram.
    #[must_use]
    pub fn empty(parts: usize) -> Self {
        assert!(valid(parts), "parts are a power of two from 1 to {MOST_PARTS}");
        Self { parts, counts: Vec::new() }
    }

    /// Of the first values and counts of its buckets, which nobody has checked.
    #[cfg(feature = "serde")]
    pub(crate) fn of_buckets(parts: usize, buckets: &[(u64, u64)]) -> Result<Self, NoSnapshot> {
        if !valid(parts) {
            return Err(NoSnapshot::Parts(parts));
        }
        let mut counts = Vec::new();
        for &(first, count) in buckets {
            let index = index_among(parts, first);
            if Bucket::at(index, parts).first() != first {
                return Err(NoSnapshot::NoFirst(first));
            }
            if index < counts.len() {
                return Err(NoSnapshot::Unsorted(first));
            }
            if count == 0 {
                return Err(NoSnapshot::Empty(first));
            }
            counts.resize(index, 0);
            counts.push(count);
        }
        Ok(Self { parts, counts })
    }

    /// Of these counts, by bucket.
    pub(super) fn of(parts: usize, mut counts: Vec<u64>) -> Self {
        let used = counts.iter().rposition(|count| *count != 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        Self { parts, counts }
    }

    /// How many parts an octave has.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn parts(&self) -> usize {
        self.parts
    }

    /// How many values there are; `u64::MAX` if there are more, as each bucket can hold that many.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn count(&self) -> u64 {
        saturating(self.total())
    }

    /// How many there really are.
    fn total(&self) -> u128 {
        sum(self.counts.iter().copied())
    }

    /// The buckets that have values, from the smallest, and how many.
    ///
    /// Async-signal-safe.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = (Bucket, u64)> + '_ {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(index, count)| (Bucket::at(index, self.parts), *count))
    }

    /// The bucket of the value that `quantile` of all values don't exceed (0.5: the median; 0: the
    /// smallest; 1: the largest); `None` without values.
    ///
    /// It is the bucket of the very value that sorting would find: the one of rank ⌈`quantile` ×
    /// count⌉, and the first for 0. That is exact, however many values there are. `quantile` stands
    /// for the decimal number that it is printed as: 0.28 of 100 values are 28, though the `f64` is
    /// a little more.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If `quantile` isn't from 0 to 1.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Bucket> {
        assert!((0.0..=1.0).contains(&quantile), "a quantile is from 0 to 1, not {quantile}");
        let rank = share(quantile, self.total()).max(1);
        let mut up_to = 0;
        let found = self.buckets().find(|(_, count)| {
            up_to += u128::from(*count);
            up_to >= rank
        });
        found.map(|(bucket, _)| bucket)
    }

    /// The bucket of the smallest value.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn min(&self) -> Option<Bucket> {
        Some(self.buckets().next()?.0)
    }

    /// The bucket of the largest value.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn max(&self) -> Option<Bucket> {
        Some(self.buckets().next_back()?.0)
    }

    /// The sum of all values, each taken for the middle of its bucket: wrong by at most half of a
    /// part (1.6 % for 32 parts).
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn sum(&self) -> f64 {
        // Not by `Iterator::sum`, which begins with -0.
        self.buckets().fold(0.0, |sum, (bucket, count)| sum + bucket.middle() as f64 * count as f64)
    }

    /// The mean, as exact as [`Snapshot::sum`]; `None` without values.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum() / total as f64)
    }

    /// How many values are in buckets that have none above `value`: exact where `value` is the last
    /// of its bucket, as it is below 2 × parts and in front of powers of two.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn count_up_to(&self, value: u64) -> u64 {
        let buckets = self.buckets().take_while(|(bucket, _)| bucket.last() <= value);
        saturating(sum(buckets.map(|(_, count)| count)))
    }

    /// Adds the values of another one. A bucket holds at most `u64::MAX`.
    ///
    /// Not async-signal-safe: it may allocate.
    ///
    /// # Errors
    /// If the histograms have different parts. Then nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), DifferentParts> {
        self.comparable(other)?;
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        Ok(())
    }

    /// The values since an earlier snapshot of the same histogram.
    ///
    /// Not async-signal-safe: it allocates.
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

/// `true` if there are histograms of so many parts.
fn valid(parts: usize) -> bool {
    parts.is_power_of_two() && parts <= MOST_PARTS
}

fn sum(counts: impl Iterator<Item = u64>) -> u128 {
    counts.map(u128::from).sum()
}

fn saturating(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The shortest decimal number that means a part, with an exponent. On the stack: a handler may
/// ask.
struct Written {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Written {
    /// There are at most 17 digits, a point, and the exponent.
    const LONGEST: usize = "1.2345678901234567e-308".len();

    fn of(part: f64) -> Self {
        let mut written = Self { bytes: [0; Self::LONGEST], length: 0 };
        write!(written, "{part:e}").expect("there is room for the longest");
        written
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("what was written is text")
    }
}

impl fmt::Write for Written {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes[self.length..].get_mut(..text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// The least whole number that is at least this part of so many, where the part is the shortest
/// decimal number that means this `f64`.
fn share(part: f64, of: u128) -> u128 {
    // "2.8e-1": each digit is worth a tenth of the one before it, the first 10^-1 here.
    let written = Written::of(part);
    let (digits, exponent) = written.text().split_once('e').expect("it has an exponent");
    let zeroes = exponent.strip_prefix('-').map_or(0, |zeroes| zeroes.parse().expect("it is a number"));
    let digits = digits.bytes().filter(u8::is_ascii_digit).map(|digit| u128::from(digit - b'0'));
    // From the last digit on. A part of 1 that is cut off stays one to the end, so all that matters
    // is whether there was any.
    let (mut share, mut more) = (0, false);
    for digit in digits.rev().chain(core::iter::repeat_n(0, zeroes)) {
        more |= share % 10 > 0;
        share = share / 10 + digit * of;
    }
    share + u128::from(more)
}
