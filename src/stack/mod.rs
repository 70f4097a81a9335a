//! Items that any thread puts down and any thread picks up.

mod sections;

use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst};

use self::sections::Shelf;
use super::cells::{self, from_word, is_word};
use super::drain::{self, StopError, Stopped};
use super::{AllocError, CpuId, PerCpu, current, rseq};

/// Items that any thread puts down and any thread picks up, latest first: at most `N` for each CPU.
///
/// A push and a pop work on the CPU's own items, by a section each. Where a CPU has none, a pop
/// takes half of another's by the [drain protocol](crate::drain).
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
/// Items may be of any type that can be sent. One that is no larger than a pointer travels in a
/// register; a larger one is copied in the window, so it had better be small.
///
/// It may be used from everywhere, but not in the `prepare` of a section: that one would never
/// commit.
///
/// *Handlers of signals*: pushing and popping are async-signal-safe once the stack has its memory
/// ([`Stack::allocate`]; without it the first use makes system calls, and panics if there is none).
/// So is everything else but dropping it.
///
/// *Other threads*: no operation waits for one without end. Where a thread has stopped a CPU, to
/// take its items, and doesn't get on (it was preempted or ended, a handler runs on top of it, or
/// this is a child of `fork`, which doesn't have it), others wait for some microseconds and then go
/// on without it. So [a push](Stack::push) is only ever refused by a CPU that is full, and what
/// lies there [is found](Stack::pop).
///
/// *Order*: items of one CPU are taken latest first; there is no order among CPUs. Those that come
/// from another CPU come in reverse.
///
/// *Memory*: `N` items and a word for each CPU that pushes, rounded up to pages for all small
/// `PerCpu`s together; see [`PerCpu`].
///
/// *Dropping* it drops the items that it holds. If the drop of one panics, the others are dropped
/// on the way out. A child of `fork` has a copy of each. What other threads were just pushing, had
/// popped, or had in their hands (one item each) isn't among them.
pub struct Stack<T, const N: usize = 64> {
    shelves: PerCpu<Shelf<T, N>>,
    /// How many items were taken from one CPU to another, wrapping.
    moves: AtomicUsize,
    /// The CPU where the next thief begins, modulo their number, lest all go to the same.
    first_victim: AtomicUsize,
}

impl<T, const N: usize> Stack<T, N> {
    /// Without items. It takes its memory on first use.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(0 < N && N <= drain::MOST, "a stack has room for an item, and for no more than `drain::MOST`") };
        // SAFETY: a length of 0, and cells, whose bytes mean nothing.
        Self { shelves: unsafe { PerCpu::zeroed() }, moves: AtomicUsize::new(0), first_victim: AtomicUsize::new(0) }
    }

    /// Takes its memory now, so that pushing and popping never panic.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.shelves.allocate()
    }

    /// `true` once it has its memory.
    #[cfg(feature = "alloc")]
    pub(super) fn is_made(&self) -> bool {
        self.shelves.made().is_some()
    }

    /// How many items there are, while others may push and pop.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shelves.made().into_iter().flatten().map(Shelf::len).sum()
    }

    /// `true` if there are none, while others may push.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send, const N: usize> Stack<T, N> {
    /// Puts an item down.
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// Gives it back if a CPU on which the call ran had `N` at some moment of the call. (Others may
    /// have room.)
    ///
    /// # Panics
    /// If this is the first use, [`Stack::allocate`] wasn't called, and there is no memory. The
    /// item is dropped.
    #[inline]
    pub fn push(&self, item: T) -> Result<(), T> {
        self.push_here(item).or_else(|item| self.push_later(item))
    }

    /// Takes an item: the latest of this CPU, or if it has none, one of another.
    ///
    /// `None` says that each CPU had none at some moment of the call, and that no item lay there
    /// all the while: those that did when it began were taken by others, at most on their way from
    /// CPU to CPU in the hands of another pop. Where there are no fences (before Linux 5.10), it
    /// looks at its own CPU alone.
    ///
    /// Async-signal-safe.
    ///
    /// # Panics
    /// If this is the first use, [`Stack::allocate`] wasn't called, and there is no memory.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        self.pop_here().or_else(|| self.steal())
    }

    /// Pushes, unless this CPU's shelf is full, or stopped.
    #[inline(always)]
    pub(super) fn push_here(&self, item: T) -> Result<(), T> {
        let word = |word| sections::push_word(&self.shelves, word);
        // SAFETY: the item is there.
        let copy = |item| unsafe { sections::push_copy(&self.shelves, item) };
        cells::push(item, word, copy)
    }

    /// The latest item of this CPU's, unless its shelf is empty, or stopped.
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
    pub(super) fn push_later(&self, mut item: T) -> Result<(), T> {
        let mut round = 0_u32;
        loop {
            let len = &self.shelves[current::cpu()].len;
            match len.load(Relaxed) {
                drain::STOPPED.. => drain::insist(len, round),
                full if full >= N => return Err(item),
                // It was stopped just now, or this thread ran elsewhere.
                _ => {}
            }
            match self.push_here(item) {
                Ok(()) => return Ok(()),
                Err(back) => item = back,
            }
            round = round.saturating_add(1);
        }
    }

    /// An item of some CPU's. Half of that CPU's others come to this one. `None` if each had none
    /// when its turn came.
    #[cold]
    pub(super) fn steal(&self) -> Option<T> {
        let first = self.first_victim.fetch_add(1, Relaxed);
        let slots = self.shelves.len();
        loop {
            let moves = self.moves.load(SeqCst);
            let indices = (0..slots).map(|turn| first.wrapping_add(turn) % slots);
            let item = indices.filter_map(CpuId::new).find_map(|cpu| self.steal_from(cpu));
            // Else an item may have come to a CPU whose turn was over from one whose wasn't.
            if item.is_some() || self.moves.load(SeqCst) == moves {
                return item;
            }
        }
    }

    fn steal_from(&self, cpu: CpuId) -> Option<T> {
        let shelf = &self.shelves[cpu];
        let mut round = 0_u32;
        while shelf.len() > 0 {
            let item = match drain::stop(&shelf.len, cpu) {
                Ok(stopped) => self.take_half(shelf, stopped),
                Err(StopError::Busy) => {
                    drain::insist(&shelf.len, round);
                    self.pop_here()
                }
                Err(_) => return None,
            };
            if item.is_some() {
                return item;
            }
            round = round.saturating_add(1);
        }
        None
    }

    /// Takes an item, after half of the others have come to this CPU. There is never more than one
    /// in the caller's hands, so there is room for all of them. `None` if somebody resumed the
    /// shelf.
    fn take_half(&self, shelf: &Shelf<T, N>, mut stopped: Stopped<'_>) -> Option<T> {
        let others = stopped.count().div_ceil(2).saturating_sub(1);
        let mut item = shelf.take(&mut stopped)?;
        for _ in 0..others {
            // Before it is there.
            self.moves.fetch_add(1, SeqCst);
            if let Err(back) = self.push_here(item) {
                return Some(back);
            }
            match shelf.take(&mut stopped) {
                Some(next) => item = next,
                None => return self.pop_here(),
            }
        }
        Some(item)
    }
}

impl<T, const N: usize> Shelf<T, N> {
    fn len(&self) -> usize {
        self.len.load(Acquire) & drain::MOST
    }

    /// Takes the latest item, if there is one and nobody resumed the shelf.
    fn take(&self, stopped: &mut Stopped<'_>) -> Option<T> {
        let last = stopped.count().checked_sub(1)?;
        // SAFETY: below the number of items.
        let item = unsafe { self.items.peek(last) };
        // SAFETY: the shelf was stopped until now, so this was its last item all the while, and
        // from now on it is the caller's.
        stopped.set_count(last).then(|| unsafe { item.assume_init() })
    }
}

impl<T, const N: usize> Drop for Shelf<T, N> {
    fn drop(&mut self) {
        let mut places = 0..self.len();
        // SAFETY: an item at each of them, which nobody else can take any more.
        cells::drop_all(|| places.next().map(|at| unsafe { self.items.take(at) }));
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
