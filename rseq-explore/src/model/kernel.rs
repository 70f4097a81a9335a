//! The kernel, as it treats the threads of a model by the rules of `docs/soundness.md`: an event
//! with the thread inside the window that is in force leads to the abort handler; outside of it, it
//! takes the descriptor out of force.
//!
//! It also checks what a user of the protocol may rely on. Each of these rules has a mutant that
//! breaks it, see `tests/protocol/model`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use super::code::{Address, Code};

/// How many CPUs the machine has.
pub const CPUS: usize = 2;

/// A thread of the model.
#[derive(Debug)]
pub struct Thread {
    /// Its number among the threads.
    pub(super) number: usize,
    /// The area that it shares with the kernel.
    pub(super) area: Area,
    /// The window that the thread descriptor covers: the one that was published last.
    pub(super) published: Cell<Option<&'static Code>>,
    /// The step that comes next.
    at: Cell<Option<Address>>,
    /// The kernel moved it to the abort handler.
    aborted: Cell<bool>,
    /// The section that it is in.
    pub(super) attempt: Cell<Attempt>,
    /// How often something interrupted it.
    interruptions: Cell<u64>,
    /// The commits of all threads.
    commits: Commits,
    /// How many attempts it made.
    pub(super) attempts: Cell<usize>,
    /// The rule that it broke first.
    broken: Cell<Option<Broken>>,
}

/// The words that a thread shares with the kernel.
#[derive(Debug, Default)]
pub(super) struct Area {
    pub(super) in_force: Cell<Option<Descriptor>>,
    pub(super) cpu: Cell<usize>,
    pub(super) cid: Cell<usize>,
}

/// The descriptor that `rseq_cs` may point to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Descriptor {
    /// The thread's own, which covers what it published.
    OfThread,
    /// The constant one of a window.
    OfWindow(&'static Code),
}

/// A run through a section, which commits or aborts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// The index that the section works by.
    pub(super) index: Option<usize>,
    committed: bool,
    /// How often something had interrupted the thread before.
    interruptions: u64,
    /// How many sections of all threads had committed before.
    commits: usize,
}

/// A commit of some thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    thread: usize,
    at: usize,
    index: Index,
}

/// The index of a section, with its kind.
pub(super) type Index = (usize, usize);

/// The commits of a run, in their order.
pub(super) type Commits = Rc<RefCell<Vec<Commit>>>;

/// A rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A section was aborted that had committed.
    AbortedAfterCommit,
    /// A section committed by another index than its thread's.
    WrongSlot,
    /// A descriptor was in force when there was no section.
    LeftInForce,
    /// A section was aborted, though nothing interrupted it.
    AbortedByNothing,
    /// A section stored to memory behind its commit.
    StoredAfterCommit,
    /// While a section was under way to its commit, one of another thread, by another index,
    /// committed to the same place.
    SharedPlace,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AbortedAfterCommit => "a section was aborted that had committed",
            Self::WrongSlot => "a section committed by an index that isn't its thread's",
            Self::LeftInForce => "a descriptor is in force outside of every section",
            Self::AbortedByNothing => "a section was aborted, though nothing interrupted it",
            Self::StoredAfterCommit => "a section stored to memory after its commit",
            Self::SharedPlace => {
                "two threads, by different indices, committed to one place at once: it is no index's own"
            }
        })
    }
}

impl Thread {
    pub(super) fn new(number: usize, commits: Commits) -> Self {
        Self {
            number,
            area: Area::default(),
            published: Cell::new(None),
            at: Cell::new(None),
            aborted: Cell::new(false),
            attempt: Cell::default(),
            interruptions: Cell::new(0),
            commits,
            attempts: Cell::new(0),
            broken: Cell::new(None),
        }
    }

    /// The thread comes to a step.
    pub(super) fn comes_to(&self, at: Address) {
        self.at.set(Some(at));
    }

    /// The thread goes on: with this step, or with the abort handler.
    pub(super) fn goes_on(&self) -> bool {
        !self.aborted.take()
    }

    /// The window that the descriptor in force covers.
    fn window_in_force(&self) -> Option<&'static Code> {
        match self.area.in_force.get()? {
            Descriptor::OfThread => self.published.get(),
            Descriptor::OfWindow(code) => Some(code),
        }
    }

    /// True if an event would make a difference.
    pub(super) fn is_armed(&self) -> bool {
        self.area.in_force.get().is_some()
    }

    /// Preempts, moves, signals or fences the thread: what all these have in common.
    pub(super) fn interrupt(&self) {
        self.interruptions.set(self.interruptions.get() + 1);
        let inside = matches!((self.window_in_force(), self.at.get()), (Some(window), Some(at)) if at.is_in(window));
        if inside {
            self.aborted.set(true);
            self.must(!self.attempt.get().committed, Broken::AbortedAfterCommit);
        }
        self.area.in_force.set(None);
    }

    /// A signal's handler runs. Sections of its own are none of the business of the one that it
    /// interrupts.
    pub(super) fn signal(&self, handler: impl FnOnce()) {
        self.interrupt();
        let interrupted = (self.aborted.take(), self.attempt.get(), self.at.get());
        handler();
        self.is_outside();
        let (aborted, attempt, at) = interrupted;
        self.aborted.set(aborted);
        self.attempt.set(attempt);
        self.at.set(at);
    }

    /// A section starts, or starts again.
    pub(super) fn begins(&self) {
        self.attempts.set(self.attempts.get() + 1);
        let (interruptions, commits) = (self.interruptions.get(), self.commits.borrow().len());
        self.attempt.set(Attempt { interruptions, commits, ..Attempt::default() });
    }

    /// The section can't go on before its slots have been made, which aborts it as well.
    pub(super) fn lacks_slots(&self) {
        self.interruptions.set(self.interruptions.get() + 1);
    }

    /// The section gets the index that it works by.
    pub(super) fn gets_index(&self, index: usize) {
        self.attempt.set(Attempt { index: Some(index), ..self.attempt.get() });
    }

    /// The section stores, by the commit or before it.
    pub(super) fn stores(&self) {
        self.must(!self.attempt.get().committed, Broken::StoredAfterCommit);
    }

    /// The section commits at this address, and the thread has this index.
    pub(super) fn commits(&self, index: Index, at: usize) {
        self.stores();
        let attempt = self.attempt.get();
        self.must(attempt.index.is_none_or(|used| used == index.1), Broken::WrongSlot);
        self.attempt.set(Attempt { committed: true, ..attempt });
        let mut commits = self.commits.borrow_mut();
        // Who got the place from another thread, in whatever way, began after that was through with
        // it.
        let meanwhile = &commits[attempt.commits..];
        let shares = |other: &Commit| other.at == at && other.thread != self.number && other.index != index;
        self.must(!meanwhile.iter().any(shares), Broken::SharedPlace);
        commits.push(Commit { thread: self.number, at, index });
    }

    /// The section was aborted and starts again.
    pub(super) fn is_aborted(&self) {
        let before = self.attempt.get().interruptions;
        self.must(before != self.interruptions.get(), Broken::AbortedByNothing);
    }

    /// The thread is in no section.
    pub(super) fn is_outside(&self) {
        self.must(!self.is_armed(), Broken::LeftInForce);
    }

    fn must(&self, holds: bool, rule: Broken) {
        if !holds && self.broken().is_none() {
            self.broken.set(Some(rule));
        }
    }

    /// The rule that the thread broke first.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken.get()
    }
}
