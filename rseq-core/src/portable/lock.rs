//! The lock of a slot: who may commit there, and how it is taken away from them.

use core::sync::atomic::{
    AtomicU32, AtomicUsize, Ordering, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use crate::sys;

/// An atomic word, and how to wait until others have changed one. The model has its own, so that it
/// runs this very code.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> usize;
    fn store(&self, value: usize, order: Ordering);
    fn swap(&self, value: usize, order: Ordering) -> usize;
    fn fetch_or(&self, bits: usize, order: Ordering) -> usize;
    /// True if it was `from`, and is `to` now. Where it wasn't, the order is relaxed.
    fn replace(&self, from: usize, to: usize, order: Ordering) -> bool;
    /// Waits in round `round`, and says which one is next.
    fn wait(round: u32) -> u32;
}

impl Word for AtomicUsize {
    #[inline(always)]
    fn load(&self, order: Ordering) -> usize {
        self.load(order)
    }

    #[inline(always)]
    fn store(&self, value: usize, order: Ordering) {
        self.store(value, order);
    }

    #[inline(always)]
    fn swap(&self, value: usize, order: Ordering) -> usize {
        self.swap(value, order)
    }

    #[inline(always)]
    fn fetch_or(&self, bits: usize, order: Ordering) -> usize {
        self.fetch_or(bits, order)
    }

    #[inline(always)]
    fn replace(&self, from: usize, to: usize, order: Ordering) -> bool {
        self.compare_exchange(from, to, order, Relaxed).is_ok()
    }

    fn wait(round: u32) -> u32 {
        sys::wait(round);
        round.saturating_add(1)
    }
}

/// Set in the holder's word while its window runs. (Threads' ids are even.)
const COMMITTING: usize = 1;

/// So many rounds a section has the slot for itself, some milliseconds, before others may take it
/// away.
const PATIENCE: u32 = 192;
/// So often that time doubles.
const MOST_DOUBLINGS: u32 = 7;

/// The lock of a slot. Who begins a section holds it until the section commits, is left, or until
/// somebody else takes it: a section that doesn't hold it any more can't commit. Nobody waits for a
/// section without end, but for a window, which itself waits for nobody.
pub(super) struct Lock<W = AtomicUsize> {
    /// The thread whose section it is, 0 for none. It is only ever changed by read-modify-writes:
    /// so each section sees what was stored before by those that held the slot earlier, and by
    /// those who made a fence for it.
    holder: W,
    /// How many commits have ended, wrapping.
    commits: W,
    /// How often the slot was taken from a section under way, since [`Lock::calm`].
    taken: AtomicU32,
}

impl Lock {
    pub(super) const fn new() -> Self {
        Self::of(AtomicUsize::new(0), AtomicUsize::new(0))
    }

    /// In a child of `fork`, which has no thread but `this`.
    pub(super) fn forget_others(&self, this: usize) {
        if thread(self.holder.load(Relaxed)) != this {
            self.holder.store(0, Release);
        }
    }
}

impl<W: Word> Lock<W> {
    /// Of two words, which are 0.
    pub(super) const fn of(holder: W, commits: W) -> Self {
        Self { holder, commits, taken: AtomicU32::new(0) }
    }

    /// Begins a section of this thread. Waits for that of another one until its time is over, and
    /// then takes the slot away from it.
    pub(super) fn begin(&self, this: usize) {
        let mut round = 0;
        loop {
            let holder = self.holder.load(Relaxed);
            // The section that this one is on top of will find the slot free, or another's.
            if thread(holder) == this {
                return;
            }
            let is_free = holder == 0 || self.may_be_taken(holder, round);
            if is_free && self.holder.replace(holder, this, Acquire) {
                return self.count_taking(holder);
            }
            round = W::wait(round);
        }
    }

    /// Runs the window of this thread's innermost section, if that still holds the slot. Signals
    /// are held back: a handler on top of a window would find its slot in a state that no section
    /// leaves behind.
    pub(super) fn commit<R>(&self, this: usize, window: impl FnOnce() -> R) -> Option<R> {
        if self.holder.replace(this, this | COMMITTING, Acquire) {
            let _ends = Commit(self);
            return Some(window());
        }
        // A signal that a window raises itself (`SIGSEGV` and its kin) can't be held back. Its
        // handler's sections run as part of that window.
        (self.holder.load(Relaxed) == this | COMMITTING).then(window)
    }

    /// No section holds the slot.
    pub(super) fn is_free(&self) -> bool {
        self.holder.load(Relaxed) == 0
    }

    /// The section of this thread that began last is over.
    pub(super) fn end(&self, this: usize) {
        if self.holder.load(Relaxed) == this {
            // Where it fails, somebody else took the slot just now.
            self.holder.replace(this, 0, Release);
        }
    }

    /// Sees to it that no section which began before can commit, and that those which begin later
    /// see what was stored before. Says whether it was a section of this thread.
    ///
    /// It leaves another thread's section its time to end, lest fences keep it from ever
    /// committing. Then it takes the slot from it; only a window it waits for.
    pub(super) fn fence(&self, this: usize) -> bool {
        let seen = self.holder.fetch_or(0, AcqRel);
        let commits = self.commits.load(Acquire);
        if thread(seen) == this {
            self.end(this);
            return true;
        }
        let (mut holder, mut round) = (seen, 0);
        // Those that hold it later, or commit a second time, began later.
        while seen != 0 && thread(holder) == thread(seen) && self.commits.load(Acquire) == commits {
            if self.may_be_taken(holder, round) && self.holder.replace(holder, 0, AcqRel) {
                self.count_taking(holder);
                break;
            }
            round = W::wait(round);
            holder = self.holder.load(Acquire);
        }
        false
    }

    /// The section that was kept from committing has committed.
    pub(super) fn calm(&self) {
        self.taken.store(0, Relaxed);
    }

    /// Each time that the slot was taken from it, a section gets twice the time: so in the end it
    /// commits, however long it takes.
    fn may_be_taken(&self, holder: usize, round: u32) -> bool {
        holder & COMMITTING == 0 && round >= PATIENCE << self.taken.load(Relaxed).min(MOST_DOUBLINGS)
    }

    fn count_taking(&self, holder: usize) {
        if holder != 0 {
            self.taken.fetch_add(1, Relaxed);
        }
    }
}

/// A window that runs. Whatever way it is left, the slot is free then.
struct Commit<'l, W: Word>(&'l Lock<W>);

impl<W: Word> Drop for Commit<'_, W> {
    fn drop(&mut self) {
        let Lock { holder, commits, .. } = self.0;
        commits.store(commits.load(Relaxed).wrapping_add(1), Release);
        holder.swap(0, Release);
    }
}

fn thread(holder: usize) -> usize {
    holder & !COMMITTING
}
