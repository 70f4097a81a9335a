//! Sections that can never commit, because each of their attempts runs another section: how they
//! are found out.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// The lower bits of the watched word: how many sections of the thread are under way, counted from
/// the one that is watched.
const DEPTH: usize = 0xff;

/// So many aborts of others in a row, without a section of the watched thread, show that its
/// section was given up.
const MOST_STRANGERS: u32 = 1000;

/// Watches a section that was aborted, one at a time on each slot, until it commits. It only looks,
/// and nothing is wrong but a diagnosis if two threads are taken for one.
pub(super) struct Watch {
    /// The thread in the upper bits, how deep it is in the lower ones; 0 if nobody is watched.
    watched: AtomicUsize,
    /// A section of its own thread came on top of it in this attempt.
    covered: AtomicBool,
    /// Its attempts that aborted and were covered.
    attempts: AtomicU32,
    /// The aborts of others since.
    strangers: AtomicU32,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self {
            watched: AtomicUsize::new(0),
            covered: AtomicBool::new(false),
            attempts: AtomicU32::new(0),
            strangers: AtomicU32::new(0),
        }
    }

    /// Nobody is watched.
    pub(super) fn is_idle(&self) -> bool {
        self.watched.load(Relaxed) == 0
    }

    /// A section of this thread begins.
    pub(super) fn begins(&self, this: usize) {
        if let Some((word, depth)) = self.of(this) {
            self.strangers.store(0, Relaxed);
            if depth > 0 {
                self.covers(this);
            }
            if depth < DEPTH {
                self.change(word, word + 1);
            }
        }
    }

    /// The thread aborts the section that it is inside of.
    pub(super) fn covers(&self, this: usize) {
        if self.of(this).is_some() {
            self.covered.store(true, Relaxed);
        }
    }

    /// The innermost section of this thread is over.
    pub(super) fn ends(&self, this: usize) {
        match self.of(this) {
            // It was one that the watched one was inside of.
            Some((word, 0)) => self.change(word, 0),
            Some((word, _)) => self.change(word, word - 1),
            None => {}
        }
    }

    /// The innermost section of this thread has committed. Says whether nobody is watched any more.
    pub(super) fn commits(&self, this: usize) -> bool {
        if let Some((word, 0 | 1)) = self.of(this) {
            self.change(word, 0);
        }
        self.is_idle()
    }

    /// The innermost section of this thread couldn't commit. Says how often in a row that was
    /// because of others of the same thread.
    pub(super) fn aborts(&self, this: usize) -> u32 {
        match self.of(this) {
            Some((_, 1)) if self.covered.swap(false, Relaxed) => self.attempts.fetch_add(1, Relaxed) + 1,
            // It is inside the watched one, or wasn't covered.
            Some((_, 1..)) => 0,
            // The watched one was inside it.
            Some((word, _)) => self.watch(word, this),
            None => {
                let watched = self.watched.load(Relaxed);
                if watched == 0 || self.strangers.fetch_add(1, Relaxed) >= MOST_STRANGERS {
                    self.watch(watched, this);
                }
                0
            }
        }
    }

    /// Watches nobody.
    pub(super) fn forget(&self) {
        self.watched.store(0, Relaxed);
    }

    /// Watches the innermost section of this thread from now on, unless somebody else is watched
    /// meanwhile.
    fn watch(&self, before: usize, this: usize) -> u32 {
        self.change(before, key(this) + 1);
        self.covered.store(false, Relaxed);
        self.attempts.store(0, Relaxed);
        self.strangers.store(0, Relaxed);
        0
    }

    /// The word, and how deep the thread is, if it is watched.
    fn of(&self, this: usize) -> Option<(usize, usize)> {
        let word = self.watched.load(Relaxed);
        (word != 0 && word & !DEPTH == key(this)).then_some((word, word & DEPTH))
    }

    /// If that fails, another thread is watched.
    fn change(&self, from: usize, to: usize) {
        let _ = self.watched.compare_exchange(from, to, Relaxed, Relaxed);
    }
}

/// Threads' ids are often addresses at regular distances: a multiplication by 2^64 / golden ratio
/// spreads them over the upper bits.
pub(super) fn spread(thread: usize) -> usize {
    (thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(32) as usize
}

/// The thread as it stands in the watched word.
fn key(this: usize) -> usize {
    spread(this) & !DEPTH
}

#[cfg(test)]
mod tests {
    use super::{MOST_STRANGERS, Watch};

    const THREAD: usize = 0x7f00_1000;
    const OTHER: usize = 0x7f00_2000;

    /// An attempt that aborts, with so many sections inside that commit.
    fn attempt(watch: &Watch, this: usize, inner: usize) -> u32 {
        watch.begins(this);
        let is_idle = watch.is_idle();
        (0..inner).for_each(|_| section(watch, this, is_idle));
        let attempts = watch.aborts(this);
        watch.ends(this);
        attempts
    }

    /// One that commits; whether nobody is watched then.
    fn section(watch: &Watch, this: usize, is_idle: bool) {
        watch.begins(this);
        assert_eq!(watch.commits(this), is_idle);
        watch.ends(this);
    }

    #[test]
    fn covered_attempts_count() {
        let watch = Watch::new();
        let attempts = [2, 1, 0, 3, 0].map(|inner| attempt(&watch, THREAD, inner));
        // The first one finds out that there is something to watch.
        assert_eq!(attempts, [0, 1, 0, 2, 0]);
        section(&watch, THREAD, true);
        assert_eq!([1, 1].map(|inner| attempt(&watch, THREAD, inner)), [0, 1]);
    }

    /// A section inside the watched one aborts and commits as it likes.
    #[test]
    fn inner_sections_change_nothing() {
        let watch = Watch::new();
        assert_eq!(attempt(&watch, THREAD, 0), 0);
        for count in 1..5 {
            watch.begins(THREAD);
            assert_eq!(attempt(&watch, THREAD, 1), 0);
            section(&watch, THREAD, false);
            assert_eq!(watch.aborts(THREAD), count);
            watch.ends(THREAD);
        }
    }

    /// If the watched section was inside another one, that is watched as soon as it aborts.
    #[test]
    fn the_outermost_is_watched() {
        let watch = Watch::new();
        watch.begins(THREAD);
        assert_eq!([1, 1].map(|inner| attempt(&watch, THREAD, inner)), [0, 1]);
        assert_eq!(watch.aborts(THREAD), 0);
        watch.ends(THREAD);
        assert_eq!([1, 1].map(|inner| attempt(&watch, THREAD, inner)), [1, 2]);
        // One outside of it that is over ends it.
        watch.ends(THREAD);
        section(&watch, THREAD, true);
    }

    #[test]
    fn others_neither_count_nor_end_it() {
        let watch = Watch::new();
        for count in 0..10 {
            assert_eq!(attempt(&watch, THREAD, 1), count);
            assert_eq!(attempt(&watch, OTHER, 1), 0);
            section(&watch, OTHER, false);
        }
    }

    #[test]
    fn who_gave_up_is_forgotten() {
        let watch = Watch::new();
        assert_eq!(attempt(&watch, THREAD, 1), 0);
        (0..=MOST_STRANGERS).for_each(|_| assert_eq!(attempt(&watch, OTHER, 1), 0));
        assert_eq!([1, 1].map(|inner| attempt(&watch, OTHER, inner)), [1, 2]);
        section(&watch, THREAD, false);
        section(&watch, OTHER, true);
    }
}
