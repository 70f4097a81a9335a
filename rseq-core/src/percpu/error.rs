//! Slots that there is no memory for.

use core::fmt;

/// There is no memory for the slots of a [`PerCpu`](crate::PerCpu).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError {
    pub(super) bytes: usize,
}

impl AllocError {
    /// The bytes that were asked for, of address space; `usize::MAX` if there can't be as many.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.bytes
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory for slots of {} bytes", self.bytes)
    }
}

impl core::error::Error for AllocError {}
