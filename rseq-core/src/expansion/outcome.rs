//! How a window ended, and what it brought along.

use rseq_abi::outcome;

/// How a window ended, with the bits of the values that the section's later expressions use.
///
/// The window leaves a number: [`ABORTED`](Self::ABORTED)'s, [`AGAIN`](Self::AGAIN)'s, the numbers
/// from `FIRST_EXIT` on for its exits, and any larger one if it committed.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<const N: usize> {
    /// How it ended.
    pub end: usize,
    /// The values' bits. Those that were not computed yet when the window was left are arbitrary.
    pub values: [usize; N],
}

impl<const N: usize> Outcome<N> {
    /// Something interrupted it.
    pub const ABORTED: Self = Self { end: outcome::ABORTED, values: [0; N] };
    /// It couldn't run, for a reason that is mended.
    pub const AGAIN: Self = Self { end: outcome::AGAIN, values: [0; N] };

    /// It committed.
    #[inline(always)]
    #[must_use]
    pub fn committed(values: [usize; N]) -> Self {
        Self { end: usize::MAX, values }
    }
}
