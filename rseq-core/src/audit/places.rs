//! Commits to what isn't their index's own.
//!
//! A place in a slot of another index is one at once. Of any other place it takes two threads to
//! tell. They may commit there by turns, each having got the place from the other (by a lock, a
//! drain, an allocator), and they do no wrong if they never have it both. So a section notes two
//! moments at which it has its places: when they are all evaluated, and a little later, just before
//! its window. If two sections, of two threads and by two indices, commit to one place, and of each
//! these two moments aren't both earlier than the other's, they had it at once.

use core::hint::spin_loop;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};

use super::location::Location;
use crate::owner::Owner;

/// How often somebody stopped to hold places.
static CLOCK: AtomicU64 = AtomicU64::new(0);

/// From when to when, at least, a section had its places before its window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    from: u64,
    until: u64,
}

impl Held {
    /// All places are evaluated, the commit's too. Where another thread committed to that before,
    /// it waits a little, so that they may meet.
    pub(super) fn now(place: usize, thread: usize) -> Self {
        let from = CLOCK.load(Acquire);
        if Entry::of(place).is_anothers(place, thread) {
            wait();
        }
        Self { from, until: CLOCK.fetch_add(1, AcqRel) + 1 }
    }

    /// True if both had theirs at some time.
    fn meets(self, other: Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

/// Waits for some microseconds, but no more than a second in all.
fn wait() {
    const TURNS: u32 = 200;
    const MOST_WAITS: u32 = 100_000;
    static WAITS: AtomicU32 = AtomicU32::new(0);
    if WAITS.load(Relaxed) < MOST_WAITS {
        WAITS.fetch_add(1, Relaxed);
        (0..TURNS).for_each(|_| spin_loop());
    }
}

/// A commit to a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub place: usize,
    pub owner: Owner,
    /// A number that no other thread has meanwhile.
    pub thread: usize,
    pub section: &'static Location,
    pub held: Held,
}

impl Commit {
    /// True if both had the place at once, and nothing keeps them apart.
    fn shares(&self, other: &Self) -> bool {
        self.place == other.place
            && self.thread != other.thread
            && self.owner != other.owner
            && self.held.meets(other.held)
    }
}

/// The last commits: to each place in an entry that the place selects, and where several share one
/// the latest.
static ENTRIES: [Entry; 1 << EXPONENT] = [const { Entry::new() }; _];
const EXPONENT: u32 = 10;

/// A commit, of none if the section is null. On lines of its own, because threads write to it all
/// the time.
#[repr(align(128))]
struct Entry {
    /// Somebody reads and writes it. Whoever else comes by leaves it alone, as a handler must.
    taken: AtomicBool,
    place: AtomicUsize,
    kind: AtomicUsize,
    index: AtomicUsize,
    thread: AtomicUsize,
    section: AtomicPtr<Location>,
    from: AtomicU64,
    until: AtomicU64,
}

/// Notes a commit. The one to the same place before it, if both had the place at once.
pub(super) fn note(commit: &Commit) -> Option<Commit> {
    let entry = Entry::of(commit.place);
    if entry.taken.swap(true, Acquire) {
        return None;
    }
    let before = entry.get();
    entry.set(commit);
    entry.taken.store(false, Release);
    before.filter(|before| commit.shares(before))
}

impl Entry {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            place: AtomicUsize::new(0),
            kind: AtomicUsize::new(0),
            index: AtomicUsize::new(0),
            thread: AtomicUsize::new(0),
            section: AtomicPtr::new(null_mut()),
            from: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }
    }

    /// The one for this place.
    fn of(place: usize) -> &'static Self {
        // 2^64 / golden ratio.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        &ENTRIES[((place as u64).wrapping_mul(SPREAD) >> (u64::BITS - EXPONENT)) as usize]
    }

    /// True if the last commit there was to this place, by another thread. (No harm if it is half
    /// of another one.)
    fn is_anothers(&self, place: usize, thread: usize) -> bool {
        self.place.load(Relaxed) == place && self.thread.load(Relaxed) != thread
    }

    fn get(&self) -> Option<Commit> {
        Some(Commit {
            // SAFETY: null, or made of such a reference.
            section: unsafe { self.section.load(Relaxed).as_ref() }?,
            place: self.place.load(Relaxed),
            owner: Owner { kind: self.kind.load(Relaxed), index: self.index.load(Relaxed) },
            thread: self.thread.load(Relaxed),
            held: Held { from: self.from.load(Relaxed), until: self.until.load(Relaxed) },
        })
    }

    fn set(&self, commit: &Commit) {
        self.section.store(core::ptr::from_ref(commit.section).cast_mut(), Relaxed);
        self.place.store(commit.place, Relaxed);
        self.kind.store(commit.owner.kind, Relaxed);
        self.index.store(commit.owner.index, Relaxed);
        self.thread.store(commit.thread, Relaxed);
        self.from.store(commit.held.from, Relaxed);
        self.until.store(commit.held.until, Relaxed);
    }
}
