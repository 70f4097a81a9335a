//! The drain protocol: taking what lies in another CPU's slot.
//!
//! A slot is its CPU's alone, and nothing that another CPU stores there is safe from a section that is under way: it may have read what it is going to overwrite. So
//! whoever wants another CPU's items stops that CPU's sections first:
//!
//! 1. Mark the slot as stopped. Sections look at the mark in their *window*, and leave without committing if it is there.
//! 2. Make a [fence](mod@crate::fence) for that CPU. A section that didn't see the mark has committed by then, or starts again and sees it.
//! 3. Take the items: the slot is the caller's.
//! 4. Take the mark away, by a store with release order.
//!
//! [`stop`] does the first two steps and dropping what it returns does the last. Its mark costs sections nothing, because it is in the number of items, which they load and compare
//! anyhow: a stopped number is huge, from [`STOPPED`] on, so a push finds no room, and a pop that compares what it is going to leave (`number - 1`) with the capacity
//! finds no item. What sections must do:
//!
//! - load the number in the window (`critical`), and commit by storing a number that they computed from it (not by `add`, which would change a mark),
//! - exit where it is [`STOPPED`] or more,
//! - never store more than [`MOST`].
//!
//! A section that was under way may overwrite the mark. The fence is over when that is no longer possible, so `stop` looks then whether its mark is still there, and begins again if it isn't.
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
//! A child of `fork` has no other threads, so nobody there takes away a mark that another thread had put in its parent: the slot stays stopped in the child, with the items in it.
//!
//! # When memory can be freed
//!
//! After something was unlinked from a slot (so that no section that begins later finds it) and a fence has returned:
//!
//! - What sections follow pointers to *in their windows* can be freed. A window that had read the pointer was aborted by the fence, in the middle of whatever it did, and never
//!   went on.
//! - What `prepare` follows pointers to can **not** be freed. A fence makes sure that such a section won't commit, but `prepare` doesn't notice: it runs on with the pointer that it read,
//!   for as long as it likes, and follows it. Such memory has to stay mapped and of its type (a pool that only ever reuses it), or to be kept until every thread was seen outside of
//!   sections by other means.
//!
//! In portable mode it is the same: windows run under a lock, and a fence waits for one that runs,
//! but not for `prepare`.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::cpu::CpuId;
use crate::fence::{self, FenceError};

const HALF: u32 = usize::BITS / 2;

/// The most items that a slot which is drained may have: as many as half of a word can count.
pub const MOST: usize = (1 << HALF) - 1;

/// Numbers of items from here on are marks: the slot is stopped.
pub const STOPPED: usize = 1 << (usize::BITS - 1);

/// So often a section that is under way may overwrite the mark.
const ROUNDS: usize = 100;

/// Why a slot wasn't stopped. Its sections go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StopError {
    /// Another thread has stopped it, or its own CPU kept changing it.
    Busy,
    /// There are no fences.
    Fence(FenceError),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the slot is being drained by another thread, or changed all the time"),
            Self::Fence(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StopError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Busy => None,
            Self::Fence(error) => Some(error),
        }
    }
}

/// A slot whose sections are stopped: until this is dropped, its items are the caller's.
#[derive(Debug)]
#[must_use = "the slot goes on when this is dropped"]
pub struct Stopped<'n> {
    number: &'n AtomicUsize,
    mark: usize,
}

/// Stops the sections on the slot of this CPU, whose number of items is `number`, as the [module](self) has it.
///
/// It takes a system call, and some microseconds. It waits for no other thread without end (in
/// portable mode for a window that runs, and some milliseconds for a section), so handlers of
/// signals may call it; a section mustn't.
///
/// # Errors
/// [`StopError::Busy`] if another thread (or the one that a handler interrupted) has stopped it, or if its own CPU changed the number a hundred times in a row meanwhile;
/// [`StopError::Fence`] where fences can't be made.
pub fn stop(number: &AtomicUsize, cpu: CpuId) -> Result<Stopped<'_>, StopError> {
    stop_by(number, || fence::cpu(cpu))
}

/// As [`stop`], by a fence of the caller's: [`fence::all`] for slots that are selected by [`MmCid`](crate::MmCid), or that of a model of the sections.
///
/// # Errors
/// As [`stop`].
pub fn stop_by(
    number: &AtomicUsize,
    mut fence: impl FnMut() -> Result<(), FenceError>,
) -> Result<Stopped<'_>, StopError> {
    for _ in 0..ROUNDS {
        let count = number.load(Relaxed);
        if count >= STOPPED {
            return Err(StopError::Busy);
        }
        let mark = STOPPED | name() << HALF | count;
        if number.compare_exchange(count, mark, Relaxed, Relaxed).is_err() {
            continue;
        }
        if let Err(error) = fence() {
            // As if nothing had been: sections that are under way may have gone on already.
            let _ = number.compare_exchange(mark, count, Relaxed, Relaxed);
            return Err(StopError::Fence(error));
        }
        // Another mark would be of somebody who came after a section overwrote this one.
        if number.load(Acquire) == mark {
            return Ok(Stopped { number, mark });
        }
    }
    Err(StopError::Busy)
}

/// A number that no other mark has: one that was overwritten must not be taken for another's. It has one bit less than half of a word.
fn name() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Relaxed) & (MOST >> 1)
}

impl Stopped<'_> {
    /// How many items there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.mark & MOST
    }

    /// Says how many items there are from now on. What is above isn't looked at any more, by anybody.
    ///
    /// # Panics
    /// If that is more than [`MOST`].
    pub fn set_count(&mut self, count: usize) {
        assert!(count <= MOST, "a slot counts to {MOST}");
        self.mark = self.mark & !MOST | count;
        // In a child of `fork`, where this thread isn't, the number says which items are still the slot's: what is dropped there.
        self.number.store(self.mark, Relaxed);
    }
}

impl Drop for Stopped<'_> {
    /// Lets the sections go on.
    fn drop(&mut self) {
        self.number.store(self.count(), Release);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::{MOST, ROUNDS, STOPPED, StopError, stop_by};

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

    /// The first one's mark is overwritten by a section, and another thread's mark by the time of its fence in force.
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
}
