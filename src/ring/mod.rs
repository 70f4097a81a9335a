//! Items on their way from many threads to one.

mod sections;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use self::sections::Track;
use super::cells;
use super::{AllocError, PerCpu, Slots, rseq};

/// Items on their way from many threads to one: at most `N` on each CPU, a power of two.
///
/// A push is a section on the CPU's own items. Whoever drains reads those of all CPUs, one after
/// the other, and disturbs no push: it takes no lock that pushes know of, and makes no fence.
///
/// ```
/// use rseq::Ring;
///
/// static EVENTS: Ring<(u32, u32)> = Ring::new();
///
/// EVENTS.push((1, 10)).unwrap();
/// EVENTS.push((2, 20)).unwrap();
/// let mut seen: Vec<_> = EVENTS.drain().expect("nobody else drains").collect();
/// seen.sort();
/// assert_eq!(seen, [(1, 10), (2, 20)]);
/// ```
///
/// Items may be of any type that can be sent. One that is no larger than a pointer travels in a
/// register; a larger one is copied in the window, so it had better be small.
///
/// Pushes may come from everywhere, signal handlers included, but not from the `prepare` of a
/// section: that one would never commit. No operation waits without end for another thread (only in
/// portable mode any waits at all).
///
/// *Order*: items of one CPU come in the order in which they were pushed there. There is none among
/// CPUs; put a time into the items if you need one.
///
/// *Memory*: `N` items and two words for each CPU that pushes, rounded up to pages for all small
/// `PerCpu`s together; see [`PerCpu`].
///
/// *Dropping* it drops the items that nobody took. A child of `fork` has a copy of each. If another
/// thread was draining at that time, nobody can drain in the child.
pub struct Ring<T, const N: usize = 256> {
    tracks: PerCpu<Track<T, N>>,
    /// Somebody drains.
    draining: AtomicBool,
}

impl<T, const N: usize> Ring<T, N> {
    /// Without items. It takes its memory on first use.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two(), "the items of a ring are a power of two") };
        // SAFETY: an empty track, and cells, whose bytes mean nothing.
        Self { tracks: unsafe { PerCpu::zeroed() }, draining: AtomicBool::new(false) }
    }

    /// Takes its memory now, so that pushing never panics.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.tracks.allocate()
    }

    /// How many items nobody has taken, while others may push.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracks.made().into_iter().flatten().map(Track::len).sum()
    }

    /// `true` if there are none, while others may push.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send, const N: usize> Ring<T, N> {
    /// Puts an item behind the others of this CPU.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// Gives it back if there are `N` of this CPU that nobody has taken.
    ///
    /// # Panics
    /// If this is the first use, [`Ring::allocate`] wasn't called, and there is no memory.
    #[inline]
    pub fn push(&self, item: T) -> Result<(), T> {
        let word = |word| sections::push_word(&self.tracks, word);
        // SAFETY: the item is there.
        let copy = |item| unsafe { sections::push_copy(&self.tracks, item) };
        cells::push(item, word, copy)
    }

    /// The items, CPU by CPU: those that are there when its turn comes. What is left when this is
    /// dropped stays. `None` if somebody else is draining, in another thread or in what a signal
    /// handler interrupted; or if what this gave was [forgotten](core::mem::forget), for good: so
    /// does a lock whose guard is. Items are pushed until there is no room.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn drain(&self) -> Option<Drain<'_, T, N>> {
        let free = !self.draining.swap(true, Acquire);
        free.then(|| Drain { ring: self, tracks: self.tracks.made(), turn: None })
    }
}

impl<T, const N: usize> Track<T, N> {
    fn len(&self) -> usize {
        // The head first: so the difference is never negative.
        let head = self.head.load(Acquire);
        self.tail.load(Relaxed).wrapping_sub(head).min(N)
    }

    /// Takes the first item.
    ///
    /// # Safety
    /// There is one, as of a load of `tail` with acquire order, and nobody else takes it meanwhile.
    unsafe fn take(&self, head: usize) -> T {
        // SAFETY: the caller's. Nothing is pushed to its place before `head` is behind it.
        let item = unsafe { self.items.take(head % N) };
        self.head.store(head.wrapping_add(1), Release);
        item
    }
}

impl<T, const N: usize> Drop for Track<T, N> {
    fn drop(&mut self) {
        // SAFETY: there is one, and nobody else knows of it any more.
        cells::drop_all(|| (self.len() > 0).then(|| unsafe { self.take(self.head.load(Relaxed)) }));
    }
}

/// The items of a [`Ring`], one after the other: see [`Ring::drain`]. It must be dropped before
/// anybody drains again.
#[must_use = "items are taken by iterating"]
pub struct Drain<'r, T, const N: usize> {
    ring: &'r Ring<T, N>,
    tracks: Option<Slots<'r, Track<T, N>>>,
    /// Whose turn it is.
    turn: Option<Turn<'r, T, N>>,
}

/// The items of a CPU when its turn came.
struct Turn<'r, T, const N: usize> {
    track: &'r Track<T, N>,
    head: usize,
    until: usize,
}

impl<'r, T, const N: usize> Turn<'r, T, N> {
    fn of(track: &'r Track<T, N>) -> Self {
        Self { track, head: track.head.load(Relaxed), until: track.tail.load(Acquire) }
    }

    fn next(&mut self) -> Option<T> {
        if self.head == self.until {
            return None;
        }
        // SAFETY: it was pushed, and this is the only drainer.
        let item = unsafe { self.track.take(self.head) };
        self.head = self.head.wrapping_add(1);
        Some(item)
    }
}

impl<T, const N: usize> Iterator for Drain<'_, T, N> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.turn.as_mut().and_then(Turn::next) {
                return Some(item);
            }
            self.turn = Some(Turn::of(self.tracks.as_mut()?.next()?));
        }
    }
}

impl<T, const N: usize> Drop for Drain<'_, T, N> {
    fn drop(&mut self) {
        self.ring.draining.store(false, Release);
    }
}

impl<T, const N: usize> fmt::Debug for Drain<'_, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("ring", self.ring).finish_non_exhaustive()
    }
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> fmt::Debug for Ring<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("len", &self.len()).finish_non_exhaustive()
    }
}
