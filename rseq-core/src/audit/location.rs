//! Sections by where they stand.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A section's place in the source, and what was reported of it.
#[derive(Debug)]
pub struct Location {
    text: &'static str,
    /// Bits by [`Kind`].
    reported: AtomicU32,
    /// The attempts in a row, of whatever thread, in which it slept.
    pub(super) slept: AtomicU32,
}

impl Location {
    /// `text` is for people: file, line and column.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, reported: AtomicU32::new(0), slept: AtomicU32::new(0) }
    }

    pub(super) fn was_reported(&self, kind: Kind) -> bool {
        self.reported.load(Relaxed) & kind as u32 != 0
    }

    /// Notes that it is reported; false if it was before.
    pub(super) fn is_new(&self, kind: Kind) -> bool {
        self.reported.fetch_or(kind as u32, Relaxed) & kind as u32 == 0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "a section at an unknown place" } else { self.text })
    }
}

/// The bit of a kind of finding.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Kind {
    Call = 1,
    Nested = 2,
    Left = 4,
    Livelock = 8,
    Place = 32,
    Borrowed = 16,
}
