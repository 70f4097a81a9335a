//! The drain protocol: taking what lies in another CPU's slot.
//!
//! A slot is its CPU's alone, and nothing that another CPU stores there is safe from a section that
//! is under way: it may have read what it is going to overwrite. So whoever wants another CPU's
//! items stops that CPU's sections first:
//!
//! 1. Mark the slot as stopped. Sections look at the mark in their *window*, and leave without
//!    committing if it is there.
//! 2. Make a [fence](mod@crate::fence) for that CPU. A section that didn't see the mark has
//!    committed by then, or starts again and sees it.
//! 3. Take the items: the slot is the caller's.
//! 4. Take the mark away, with release order.
//!
//! [`stop`] does the first two steps and dropping what it returns does the last. Its mark costs
//! sections nothing, because it is in the number of items, which they load and compare anyhow: a
//! stopped number is huge, from [`STOPPED`] on, so a push finds no room, and a pop that compares
//! what it is going to leave (`number - 1`) with the capacity finds no item. What sections must do:
//!
//! - load the number in the window (`critical`), and commit by storing a number that they computed
//!   from it (not by `add`, which would change a mark),
//! - exit where it is [`STOPPED`] or more,
//! - never store more than [`MOST`].
//!
//! A section that was under way may overwrite the mark. The fence is over when that is no longer
//! possible, so `stop` looks then whether its mark is still there, and begins again if it isn't.
//!
//! ```
//! use rseq::{CpuId, PerCpu, drain, rseq};
//! use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
//!
//! #[derive(Default)]
//! struct Stack { len: AtomicUsize, items: [AtomicU64; 16] }
//!
//! static STACKS: PerCpu<Stack> = PerCpu::new();
//!
//! fn push(item: u64) -> bool {
//!     // SAFETY: `len` is below the number of items.
//!     unsafe {
//!         rseq! {
//!             critical |cpu| {
//!                 let len = load(&STACKS[cpu].len);
//!                 if len >= 16 { exit false }                   // full, or stopped
//!                 store(&STACKS[cpu].items[len], item);
//!                 let longer = len + 1;
//!             }
//!             commit store_release(&STACKS[cpu].len, longer)
//!             => true
//!         }
//!     }
//! }
//!
//! /// Takes everything, from all CPUs.
//! fn take_all() -> Result<Vec<u64>, drain::StopError> {
//!     let mut taken = Vec::new();
//!     for index in 0..STACKS.len() {
//!         let cpu = CpuId::new(index).expect("an index of a slot");
//!         let stack = &STACKS[cpu];
//!         let mut stopped = drain::stop(&stack.len, cpu)?;
//!         taken.extend(stack.items[..stopped.count()].iter().map(|item| item.load(Relaxed)));
//!         stopped.set_count(0);
//!     }
//!     Ok(taken)
//! }
//!
//! assert!(push(7) && push(8));
//! let mut taken = take_all().unwrap();
//! taken.sort();
//! assert_eq!(taken, [7, 8]);
//! ```
//!
//! # Who can't wait for it
//!
//! A thread that finds a slot stopped may wait for the thread that did so, or go elsewhere. But
//! that thread may not get on: it was preempted, a handler of signals runs on top of it, or this is
//! a child of `fork`, which doesn't have it. So whoever needs the slot [resumes](resume) it in the
//! end ([`insist`] does both). Nothing else has to be known of the thread: it finds out as soon as
//! it says how many items are left, because it does so by a compare-and-exchange of its mark
//! ([`Stopped::set_count`]).
//!
//! So where slots are resumed, items are read *first*, and are the reader's only if `set_count`
//! says so: what was read of one that was resumed may be half of an item and half of another. Where
//! nobody resumes slots, `set_count` always says yes; in a child of `fork`, a slot that another
//! thread had stopped then stays stopped, with the items in it.
//!
//! # When memory can be freed
//!
//! After something was unlinked from a slot (so that no section that begins later finds it) and a
//! fence has returned:
//!
//! - What sections follow pointers to *in their windows* can be freed. A window that had read the
//!   pointer was aborted by the fence, in the middle of whatever it did, and never went on.
//! - What `prepare` follows pointers to can **not** be freed. A fence makes sure that such a
//!   section won't commit, but `prepare` doesn't notice: it runs on with the pointer that it read,
//!   for as long as it likes, and follows it. Such memory has to stay mapped and of its type (a
//!   pool that only ever reuses it), or to be kept until every thread was seen outside of sections
//!   by other means.
//!
//! In portable mode it is the same: windows run under a lock, and a fence waits for one that runs,
//! but not for `prepare`.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu::CpuId;
use crate::fence::{self, FenceError};
use crate::sys;

const HALF: u32 = usize::BITS / 2;

/// The most items that a slot which is drained may have: as many as half of a word can count.
pub const MOST: usize = (1 << HALF) - 1;

/// Numbers of items from here on are marks: the slot is stopped.
pub const STOPPED: usize = 1 << (usize::BITS - 1);

/// So often a section that is under way may overwrite the mark.
const ROUNDS: usize = 100;

/// So many rounds [`insist`] waits, some microseconds.
const PATIENCE: u32 = 128;

/// Why a slot wasn't stopped. Its sections go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StopError {
    /// Another thread has stopped it, or its own CPU kept changing it.
    Busy,
    /// There are no fences.
    Fence(FenceError),
    /// Thousands of threads are stopping slots at this moment. (A child of `fork` counts those that
    /// its parent had then.)
    Crowded,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the slot is being drained by another thread, or changed all the time"),
            Self::Fence(error) => error.fmt(f),
            Self::Crowded => f.write_str("too many threads are draining slots"),
        }
    }
}

impl core::error::Error for StopError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Busy | Self::Crowded => None,
            Self::Fence(error) => Some(error),
        }
    }
}

/// A slot whose sections are stopped: until this is dropped, or somebody [resumes](resume) it, its
/// items are the caller's.
///
/// One that is [forgotten](core::mem::forget) leaves the slot stopped until it is resumed. It
/// counts as a thread that is stopping one for good: see [`StopError::Crowded`].
#[derive(Debug)]
#[must_use = "the slot goes on when this is dropped"]
pub struct Stopped<'n> {
    number: &'n AtomicUsize,
    /// The number as long as the slot is the caller's: of the name, so nobody else's.
    mark: usize,
    _name: Name,
}

/// Stops the sections on the slot of this CPU, whose number of items is `number`, as the
/// [module](self) has it.
///
/// It takes a system call, and some microseconds. It waits for no other thread without end (in
/// portable mode for a window that runs, and some milliseconds for a section), so handlers of
/// signals may call it; a section mustn't.
///
/// Async-signal-safe.
///
/// # Errors
/// [`StopError::Busy`] if another thread (or the one that a handler interrupted) has stopped it, or
/// if its own CPU changed the number a hundred times in a row meanwhile; [`StopError::Fence`] where
/// fences can't be made; [`StopError::Crowded`] if thousands of threads do the same.
pub fn stop(number: &AtomicUsize, cpu: CpuId) -> Result<Stopped<'_>, StopError> {
    // Before the slot is marked: where there are no fences, sections never find it stopped.
    fence::ready().map_err(StopError::Fence)?;
    stop_by(number, || fence::cpu(cpu))
}

/// As [`stop`], by a fence of the caller's: [`fence::all`] for slots that are selected by
/// [`MmCid`](crate::MmCid), or that of a model of the sections.
///
/// Async-signal-safe if `fence` is.
///
/// # Errors
/// As [`stop`].
pub fn stop_by(
    number: &AtomicUsize,
    mut fence: impl FnMut() -> Result<(), FenceError>,
) -> Result<Stopped<'_>, StopError> {
    for _ in 0..ROUNDS {
        let Some(stopped) = Stopped::mark(number)? else { continue };
        fence().map_err(StopError::Fence)?;
        // Another mark would be of somebody who came after a section overwrote this one.
        if number.load(Acquire) == stopped.mark {
            return Ok(stopped);
        }
    }
    Err(StopError::Busy)
}

/// Lets the sections of a slot go on though a thread has stopped it, for who can't wait for that
/// thread. It finds out, as the [module](self#who-cant-wait-for-it) has it, if it still exists.
/// Where nobody has stopped the slot, this does nothing.
///
/// Async-signal-safe.
///
/// ```
/// use rseq::{CpuId, drain};
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
///
/// let number = AtomicUsize::new(3);
/// let mut stopped = drain::stop(&number, CpuId::new(0).expect("every machine has a CPU"))?;
/// drain::resume(&number);
/// assert!(!stopped.set_count(2), "the third item isn't its");
/// drop(stopped);
/// assert_eq!(number.load(Relaxed), 3);
/// # Ok::<(), drain::StopError>(())
/// ```
pub fn resume(number: &AtomicUsize) {
    let mark = number.load(Relaxed);
    if mark >= STOPPED {
        // Acquired: what the caller stores from now on comes after what the other one read of its
        // items. Where it fails, somebody else did it, or took an item and gets on.
        let _ = number.compare_exchange(mark, mark & MOST, AcqRel, Relaxed);
    }
}

/// For who finds a slot stopped, for the `round`th time, and can't do without it: gives the thread
/// that has stopped it some microseconds in the first rounds, and then [resumes](resume) the slot.
///
/// Async-signal-safe.
pub fn insist(number: &AtomicUsize, round: u32) {
    if round < PATIENCE { sys::wait(round) } else { resume(number) }
}

impl<'n> Stopped<'n> {
    /// Marks the slot, unless its number has just changed.
    fn mark(number: &'n AtomicUsize) -> Result<Option<Self>, StopError> {
        let name = Name::take().ok_or(StopError::Crowded)?;
        let count = number.load(Relaxed);
        if count >= STOPPED {
            return Err(StopError::Busy);
        }
        let mark = STOPPED | name.0 << HALF | count;
        let is_marked = number.compare_exchange(count, mark, Relaxed, Relaxed).is_ok();
        Ok(is_marked.then(|| Self { number, mark, _name: name }))
    }

    /// How many items there are.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn count(&self) -> usize {
        self.mark & MOST
    }

    /// Says how many items there are from now on. What is above isn't looked at any more, by
    /// anybody. In a child of `fork`, where this thread may not be, it isn't the slot's any more
    /// either: what is dropped there.
    ///
    /// True if the slot was still the caller's: it isn't for good once somebody has
    /// [resumed](resume) it. Then nothing has changed.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If that is more than [`MOST`].
    pub fn set_count(&mut self, count: usize) -> bool {
        assert!(count <= MOST, "a slot counts to {MOST}");
        let mark = self.mark & !MOST | count;
        let is_held = self.number.compare_exchange(self.mark, mark, AcqRel, Relaxed).is_ok();
        if is_held {
            self.mark = mark;
        }
        is_held
    }
}

impl Drop for Stopped<'_> {
    /// Lets the sections go on.
    fn drop(&mut self) {
        // Where it fails, they do: one has overwritten the mark, or somebody resumed the slot.
        let _ = self.number.compare_exchange(self.mark, self.count(), Release, Relaxed);
    }
}

/// A number that no other mark has as long as this lives: who looks for a mark that was overwritten
/// must never find another's. It has at most a bit less than half of a word.
#[derive(Debug)]
struct Name(usize);

impl Name {
    fn take() -> Option<Self> {
        NAMES.take().map(Self)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        NAMES.give_back(self.0);
    }
}

static NAMES: Names = Names::new();

/// A bit for each name that somebody has.
struct Names([AtomicUsize; Self::WORDS]);

impl Names {
    const WORDS: usize = 64;
    const BITS: usize = usize::BITS as usize;
    const MOST: usize = Self::WORDS * Self::BITS;

    const fn new() -> Self {
        const { assert!(Self::MOST << HALF <= STOPPED, "marks have room for each") };
        Self([const { AtomicUsize::new(0) }; Self::WORDS])
    }

    /// The first that is free, if there is one.
    fn take(&self) -> Option<usize> {
        self.0.iter().enumerate().find_map(|(index, word)| {
            loop {
                let bit = word.load(Relaxed).trailing_ones() as usize;
                if bit == Self::BITS {
                    return None;
                }
                if word.fetch_or(1 << bit, Acquire) & 1 << bit == 0 {
                    return Some(index * Self::BITS + bit);
                }
            }
        })
    }

    fn give_back(&self, name: usize) {
        self.0[name / Self::BITS].fetch_and(!(1 << (name % Self::BITS)), Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Names, ROUNDS, STOPPED, StopError, insist, resume, stop_by};
    use core::cell::Cell;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn sections_see_a_huge_number_until_it_is_dropped() {
        let number = AtomicUsize::new(5);
        let mut stopped = stop_by(&number, || Ok(())).unwrap();
        assert_eq!(stopped.count(), 5);
        assert!(number.load(Relaxed) >= STOPPED);
        stopped.set_count(3);
        assert_eq!((stopped.count(), number.load(Relaxed) & MOST), (3, 3));
        assert!(number.load(Relaxed) >= STOPPED);
        drop(stopped);
        assert_eq!(number.load(Relaxed), 3);
    }

    #[test]
    fn a_section_that_was_under_way_makes_it_begin_again() {
        let (number, fences) = (AtomicUsize::new(5), Cell::new(0));
        let stopped = stop_by(&number, || {
            fences.set(fences.get() + 1);
            if fences.get() == 1 {
                number.store(4, Relaxed);
            }
            Ok(())
        });
        assert_eq!((stopped.unwrap().count(), fences.get()), (4, 2));
        let endless = stop_by(&number, || {
            fences.set(fences.get() + 1);
            number.store(4, Relaxed);
            Ok(())
        });
        assert_eq!((endless.map(|stopped| stopped.count()), fences.get()), (Err(StopError::Busy), 2 + ROUNDS));
    }

    /// The first one's mark is overwritten by a section, and another thread's mark by the time of
    /// its fence in force.
    #[test]
    fn of_two_one_stops_it() {
        let number = AtomicUsize::new(5);
        let other = Cell::new(None);
        let first = stop_by(&number, || {
            number.store(4, Relaxed);
            other.set(Some(stop_by(&number, || Ok(())).unwrap()));
            Ok(())
        });
        assert_eq!(first.map(|stopped| stopped.count()), Err(StopError::Busy));
        assert_eq!(other.take().map(|stopped| stopped.count()), Some(4));
        assert_eq!(number.load(Relaxed), 4);
    }

    #[test]
    fn who_cannot_wait_resumes_it() {
        let number = AtomicUsize::new(5);
        resume(&number);
        assert_eq!(number.load(Relaxed), 5, "nobody has stopped it");
        let mut stopped = stop_by(&number, || Ok(())).unwrap();
        assert!(stopped.set_count(4));
        (0..).take_while(|_| number.load(Relaxed) >= STOPPED).for_each(|round| insist(&number, round));
        assert_eq!(number.load(Relaxed), 4);
        // Nor if another one stops it then.
        let mut other = stop_by(&number, || Ok(())).unwrap();
        assert!(!stopped.set_count(3));
        drop(stopped);
        assert!(other.set_count(2));
        drop(other);
        assert_eq!(number.load(Relaxed), 2);
    }

    /// However many marks others make, of any slots, before a thread looks whether its own is still
    /// there.
    #[test]
    fn no_mark_is_taken_for_another() {
        const OTHERS: usize = if cfg!(miri) { 200 } else { 1 << 16 };
        let (number, another, second) = (AtomicUsize::new(5), AtomicUsize::new(0), Cell::new(None));
        let mut fences = 0;
        let first = stop_by(&number, || {
            fences += 1;
            if fences == 1 {
                // A section that was under way, after which there are as many items again.
                number.store(5, Relaxed);
                (0..OTHERS).for_each(|_| drop(stop_by(&another, || Ok(())).unwrap()));
                second.set(Some(stop_by(&number, || Ok(())).unwrap()));
            }
            Ok(())
        });
        assert_eq!(first.map(|stopped| stopped.count()), Err(StopError::Busy));
        assert_eq!(second.take().map(|stopped| stopped.count()), Some(5));
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of names take it a minute")]
    fn each_has_another_name() {
        let names = Names::new();
        assert!(core::iter::from_fn(|| names.take()).eq(0..Names::MOST));
        for free in [0, 70, Names::MOST - 1] {
            names.give_back(free);
            assert_eq!([names.take(), names.take()], [Some(free), None]);
        }
    }

    #[test]
    fn a_fence_that_panics_leaves_the_slot_as_it_was() {
        let number = AtomicUsize::new(5);
        let stop = || drop(stop_by(&number, || std::panic::resume_unwind(std::boxed::Box::new(()))));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(stop)).is_err());
        assert_eq!(number.load(Relaxed), 5);
    }
}
