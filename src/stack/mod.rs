//! Items that any thread puts down and any thread picks up.

mod sections;

use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use self::sections::Shelf;
use super::__private::give_way;
use super::cells::{self, from_word, is_word};
use super::drain::{self, Stopped};
use super::{AllocError, CpuId, PerCpu, rseq};

/// Items that any thread puts down and any thread picks up, latest first: at most `N` for each CPU.
///
/// A push and a pop work on the CPU's own items, by a section each. Where a CPU has none, a pop takes half of another's by the [drain protocol](crate::drain).
///
/// ```
/// use rseq::Stack;
///
/// static FREE: Stack<Box<[u8; 4096]>> = Stack::new();
///
/// let page = FREE.pop().unwrap_or_else(|| Box::new([0; 4096]));
/// assert!(FREE.push(page).is_ok());
/// ```
///
/// Items may be of any type that can be sent. One that is no larger than a pointer travels in a register; a larger one is copied in the window, so it had better be small.
///
/// It may be used from everywhere, signal handlers included, but not in the `prepare` of a section: that one would never commit. No operation waits without end for another thread.
///
/// *Order*: items of one CPU are taken latest first; there is no order among CPUs.
///
/// *Memory*: `N` items and a word for each CPU that pushes, rounded up to pages for all small `PerCpu`s together; see [`PerCpu`].
///
/// *Dropping* it drops the items that it holds. A child of `fork` has a copy of each. Where another thread was just taking a CPU's items away, these
/// stay out of reach in the child, until it drops the stack; the one that was on its way isn't among them.
pub struct Stack<T, const N: usize = 64> {
    shelves: PerCpu<Shelf<T, N>>,
    /// How many threads are taking another CPU's items now: what they have stopped looks full and empty.
    thieves: AtomicUsize,
    /// The CPU where the next thief begins, modulo their number, lest all go to the same.
    first_victim: AtomicUsize,
}

/// So often an operation gives the processor away until threads that have stopped its CPU's items are through.
const PATIENCE: usize = 64;

impl<T, const N: usize> Stack<T, N> {
    /// Without items. It takes its memory on first use.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(0 < N && N <= drain::MOST, "a stack has room for an item, and for no more than `drain::MOST`") };
        // SAFETY: a length of 0, and cells, whose bytes mean nothing.
        Self { shelves: unsafe { PerCpu::zeroed() }, thieves: AtomicUsize::new(0), first_victim: AtomicUsize::new(0) }
    }

    /// Takes its memory now, so that pushing and popping never panic.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.shelves.allocate()
    }

    /// Whether it has its memory.
    #[cfg(feature = "alloc")]
    pub(super) fn is_made(&self) -> bool {
        self.shelves.made().is_some()
    }

    /// How many items there are, while others may push and pop.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelves.made().into_iter().flatten().map(Shelf::len).sum()
    }

    /// Whether there are none, while others may push.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send, const N: usize> Stack<T, N> {
    /// Puts an item down.
    ///
    /// # Errors
    /// Gives it back if this CPU has `N` already (others may have room), or if a thread that takes items away from this CPU didn't get on.
    ///
    /// # Panics
    /// If this is the first use, [`Stack::allocate`] wasn't called, and there is no memory.
    #[inline]
    pub fn push(&self, item: T) -> Result<(), T> {
        self.push_here(item).or_else(|item| self.push_later(item))
    }

    /// Takes an item: the latest of this CPU, or if it has none, one of another.
    ///
    /// `None` says that it found none on its way through all CPUs. Where there are no fences (before Linux 5.10), it looks at its own alone.
    ///
    /// # Panics
    /// As [`Stack::push`].
    #[inline]
    pub fn pop(&self) -> Option<T> {
        self.pop_here().or_else(|| self.pop_elsewhere())
    }

    /// As [`Stack::push`], but without waiting for threads that take items away.
    #[inline(always)]
    pub(super) fn push_here(&self, item: T) -> Result<(), T> {
        let word = |word| sections::push_word(&self.shelves, word);
        // SAFETY: the item is there.
        let copy = |item| unsafe { sections::push_copy(&self.shelves, item) };
        cells::push(item, word, copy)
    }

    /// An item of this CPU's.
    #[inline(always)]
    pub(super) fn pop_here(&self) -> Option<T> {
        if const { is_word::<T>() } {
            // SAFETY: each word on a shelf is an item's, and whoever pops it has it alone.
            sections::pop_word(&self.shelves).map(|word| unsafe { from_word(word) })
        } else {
            let mut room = MaybeUninit::uninit();
            // SAFETY: there is room. If something was popped, it is an item.
            unsafe { sections::pop_copy(&self.shelves, room.as_mut_ptr()).then(|| room.assume_init()) }
        }
    }

    /// Pushes if the CPU's shelf only looked full.
    #[cold]
    fn push_later(&self, mut item: T) -> Result<(), T> {
        for _ in 0..PATIENCE {
            if self.thieves.load(Relaxed) == 0 {
                break;
            }
            give_way();
            match self.push_here(item) {
                Ok(()) => return Ok(()),
                Err(back) => item = back,
            }
        }
        Err(item)
    }

    /// An item of another CPU's, or of this one's, if it only looked empty.
    #[cold]
    fn pop_elsewhere(&self) -> Option<T> {
        for _ in 0..PATIENCE {
            if let Some(item) = self.steal() {
                return Some(item);
            }
            if self.thieves.load(Relaxed) == 0 {
                break;
            }
            give_way();
            if let Some(item) = self.pop_here() {
                return Some(item);
            }
        }
        None
    }

    /// An item of some CPU's that has one and isn't stopped. Half of that CPU's others come to this CPU.
    pub(super) fn steal(&self) -> Option<T> {
        let first = self.first_victim.fetch_add(1, Relaxed);
        let slots = self.shelves.len();
        let indices = (0..slots).map(|turn| (first.wrapping_add(turn)) % slots);
        indices.filter_map(CpuId::new).find_map(|cpu| self.steal_from(cpu))
    }

    fn steal_from(&self, cpu: CpuId) -> Option<T> {
        let shelf = &self.shelves[cpu];
        if shelf.len() == 0 {
            return None;
        }
        let _thief = Thief::of(&self.thieves);
        let mut stopped = drain::stop(&shelf.len, cpu).ok()?;
        let wanted = stopped.count().div_ceil(2);
        let item = shelf.take(&mut stopped)?;
        for _ in 1..wanted {
            let Some(more) = shelf.take(&mut stopped) else { break };
            if let Err(back) = self.push_here(more) {
                shelf.put(&mut stopped, back);
                break;
            }
        }
        Some(item)
    }
}

impl<T, const N: usize> Shelf<T, N> {
    fn len(&self) -> usize {
        self.len.load(Relaxed) & drain::MOST
    }

    /// Takes the latest item.
    fn take(&self, stopped: &mut Stopped<'_>) -> Option<T> {
        let last = stopped.count().checked_sub(1)?;
        // First it is nobody's, should the process fork here.
        stopped.set_count(last);
        // SAFETY: the shelf is stopped, so it is the caller's, and this was its last item.
        Some(unsafe { self.items.take(last) })
    }

    /// Puts an item back that was taken.
    fn put(&self, stopped: &mut Stopped<'_>, item: T) {
        let len = stopped.count();
        // SAFETY: the shelf is stopped, so it is the caller's; there was room for the item.
        unsafe { self.items.put(len, item) };
        stopped.set_count(len + 1);
    }
}

impl<T, const N: usize> Drop for Shelf<T, N> {
    fn drop(&mut self) {
        for at in 0..self.len() {
            // SAFETY: an item, which nobody else can take any more.
            drop(unsafe { self.items.take(at) });
        }
    }
}

/// A thread that takes items away, as long as it lives.
struct Thief<'s>(&'s AtomicUsize);

impl<'s> Thief<'s> {
    fn of(thieves: &'s AtomicUsize) -> Self {
        thieves.fetch_add(1, Relaxed);
        Self(thieves)
    }
}

impl Drop for Thief<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<T, const N: usize> Default for Stack<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> fmt::Debug for Stack<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("len", &self.len()).finish_non_exhaustive()
    }
}
