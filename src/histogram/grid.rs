//! The counts of a CPU, and which of them is a value's.

use core::sync::atomic::AtomicU64;

use crate::__private::Elements;

/// Enough for values of 64 bits and the exact ones below the first octave that is divided.
pub(super) const OCTAVES: usize = 65;

/// A CPU's counts, octave by octave.
#[derive(Debug)]
pub struct Grid<const PARTS: usize> {
    pub(super) counts: Counts<PARTS>,
}

/// As one array, whose length can't be said in terms of `PARTS`.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Counts<const PARTS: usize>([[AtomicU64; PARTS]; OCTAVES]);

// Not for users, who are told what has elements when they index something else.
#[diagnostic::do_not_recommend]
// SAFETY: arrays in an array lie side by side.
unsafe impl<const PARTS: usize> Elements for Counts<PARTS> {
    type Element = AtomicU64;
    #[inline(always)]
    fn first(&self) -> *mut AtomicU64 {
        (&raw const self.0).cast_mut().cast()
    }
}

impl<const PARTS: usize> Grid<PARTS> {
    /// How many buckets there are.
    pub(super) const BUCKETS: usize = OCTAVES * PARTS;

    /// The counts of all buckets, in their order.
    pub(super) fn counts(&self) -> &[AtomicU64] {
        self.counts.0.as_flattened()
    }
}

/// The bucket of a value: its number among `OCTAVES` × `PARTS`.
#[inline(always)]
pub(super) const fn index<const PARTS: usize>(value: u64) -> usize {
    index_among(PARTS, value)
}

/// As [`index`], where the parts aren't known before: a power of two.
#[inline(always)]
pub(super) const fn index_among(parts: usize, value: u64) -> usize {
    // Below 2 × parts this is 0, and each value has its own bucket.
    let octave = (value | parts as u64).ilog2() - parts.ilog2();
    octave as usize * parts + (value >> octave) as usize
}
