//! Nothing is audited.

/// Threads remember nothing of their sections.
pub(crate) struct State;

/// An attempt of a section, of which nothing is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt;

impl Attempt {
    /// Nothing.
    pub(crate) const NONE: Self = Self;

    /// Everything is prepared.
    #[inline(always)]
    pub(crate) fn prepared<T>(self, _thread: T) {}

    /// It was left early.
    #[inline(always)]
    pub(crate) fn left<T>(self, _thread: T) {}
}
