//! The plan of an exploration: the closures that run, and the events that come in between.

/// Something that comes in between two instructions of a section.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// The thread loses its CPU to another one, which runs the conflicting operation there to its
    /// end.
    Preemption,
    /// The thread goes on on another CPU, and the conflicting operation runs on the one that it
    /// left.
    Migration,
    /// A signal, whose handler runs the same section.
    Signal,
    /// A signal, whose handler runs the conflicting operation.
    SignalOfConflict,
    /// A [fence](rseq::fence::cpu), made from another CPU.
    Fence,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Preemption, Self::Migration, Self::Signal, Self::SignalOfConflict, Self::Fence];
}

/// An operation that has run, or a section that has.
#[derive(Debug)]
pub struct Run<'r, T> {
    /// Its result.
    pub value: &'r T,
    /// The CPU that it ran on, for a section the one that it committed on.
    pub cpu: usize,
}

// Not derived: that would ask for values that can be copied.
impl<T> Clone for Run<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Run<'_, T> {}

/// The runs so far. An attempt that was aborted is none.
#[derive(Debug)]
pub struct Ran<'r, R, Q> {
    /// The section, in the thread that is explored or in a handler.
    pub sections: Vec<Run<'r, R>>,
    /// The conflicting operation.
    pub conflicts: Vec<Run<'r, Q>>,
}

impl<R, Q> Ran<'_, R, Q> {
    /// How many of both.
    #[must_use]
    pub fn total(&self) -> usize {
        self.sections.len() + self.conflicts.len()
    }

    /// How many of both on this CPU.
    #[must_use]
    pub fn on(&self, cpu: usize) -> usize {
        let sections = self.sections.iter().filter(|run| run.cpu == cpu).count();
        sections + self.conflicts.iter().filter(|run| run.cpu == cpu).count()
    }
}

/// The work of children.
pub(super) struct Work<'w, R, Q> {
    pub section: &'w (dyn Fn() -> R + Sync),
    pub conflict: &'w (dyn Fn() -> Q + Sync),
    pub check: &'w (dyn Fn(&Ran<'_, R, Q>) + Sync),
    pub setup: &'w (dyn Fn() + Sync),
}

/// Everything that is explored.
pub(super) struct Plan<'w, R, Q> {
    pub work: Work<'w, R, Q>,
    pub events: Vec<Event>,
    pub name: String,
    pub to_the_end: bool,
}
