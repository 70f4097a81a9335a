//! Nothing is audited.

use crate::thread::Located;

/// Threads remember nothing of their sections.
pub(crate) struct State;

/// What an attempt of a section remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt;

impl Attempt {
    /// Nothing.
    pub(crate) const NONE: Self = Self;

    /// Everything is prepared.
    #[inline(always)]
    pub(crate) fn prepared(self, _thread: Located) {}

    /// It was left early.
    #[inline(always)]
    pub(crate) fn left(self, _thread: Located) {}
}

/// Sections have none.
#[cfg(feature = "audit")]
pub mod expansion {}
