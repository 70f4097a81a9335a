//! Values that are counted together.

use core::fmt;

/// Values that are counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bucket {
    first: u64,
    last: u64,
}

impl Bucket {
    /// The bucket of this number, where each octave is divided into so many parts.
    pub(super) const fn at(index: usize, parts: usize) -> Self {
        let octave = (index / parts).saturating_sub(1);
        let first = ((index - octave * parts) as u64) << octave;
        Self { first, last: first + ((1 << octave) - 1) }
    }

    /// The smallest value of the bucket.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The largest value of the bucket.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The middle of both: no value of the bucket is farther from it than half of its width.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn middle(self) -> u64 {
        self.first + (self.last - self.first) / 2
    }

    /// `true` if the value is one of the bucket's.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn contains(self, value: u64) -> bool {
        self.first <= value && value <= self.last
    }
}

/// `8..=9`, or `8` if it is one value.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}..={}", self.first, self.last) }
    }
}
