//! The tier between the CPUs: whole batches of free objects, which any CPU puts and takes by atomic
//! instructions alone.
//!
//! A batch lies in a *cell*, and cells lie on *piles*: one for each class, and one of those that
//! are empty. A pile is a stack by the book (Treiber, 1986): a word says which cell is on top, each
//! cell which one is under it, and a compare-and-exchange puts or takes the one on top. What is
//! taken while another thread is about to take the same cell may be back by then, on top of other
//! cells (ABA), so each change of the word gives it another *version*: 48 bits, which don't come
//! round in a thousand years of a change each 100 ns.
//!
//! Nothing is locked. A thread that stops halfway, or that a child of `fork` doesn't have, leaves
//! the piles whole: it has a cell that lies on none, with a batch at most, and that is what the
//! child loses.
//!
//! Nobody looks behind the objects: their pointers lie in the cell, one after the other. A list
//! through the objects themselves would need no memory, but whoever takes it would go from one
//! cache miss to the next.
//!
//! # Order
//!
//! A cell is put by a release and found by an acquire, so what was written before to the cell, and
//! to the objects in it, is seen by whoever takes it. (Every change of the word is a
//! read-modify-write, so it goes on with the release of all changes before it.)

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU16, AtomicU64};

use rseq::{CpuId, PerCpu};

use super::VERSION;
use super::stack::{BATCH, Batch};

/// The cells of each CPU's slot, which fill 64 KiB. (They are no CPU's in particular: it is memory
/// that is taken page by page, when it is first used, and that isn't the backend's.)
const CELLS: usize = (64 << 10) / size_of::<Cell>();

/// A place for a batch.
struct Cell {
    /// Whose it is, to whom the cell is.
    batch: UnsafeCell<Batch>,
    /// The number of the cell under it, and of all from it on down.
    under: AtomicU16,
    height: AtomicU16,
}

// SAFETY: a batch is accessed by whoever took the cell from its pile, alone until it is put onto
// another one.
unsafe impl Sync for Cell {}
// SAFETY: pointers to free objects are no thread's in particular.
unsafe impl Send for Cell {}

/// The number of a cell. There is none of the number 0.
pub type Number = u16;

/// The cells of all classes, made when they are first used.
pub struct Cells {
    slots: PerCpu<[Cell; CELLS]>,
    empty: Pile,
    /// So many were ever used: the first ones.
    used: AtomicU16,
}

/// A stack of cells: the number of the one on top, and above it the version.
pub struct Pile(AtomicU64);

impl Cells {
    pub const fn new() -> Self {
        // SAFETY: null pointers and the number 0.
        let slots = unsafe { PerCpu::zeroed() };
        Self { slots, empty: Pile::new(), used: AtomicU16::new(0) }
    }

    /// Puts a batch onto a pile of less than `most`. Says whether it did: not if there is no cell
    /// either.
    pub fn put(&self, pile: &Pile, batch: &Batch, most: usize) -> bool {
        let Some(number) = self.an_empty_one() else { return false };
        // SAFETY: the cell lies on no pile, so it is this thread's alone.
        unsafe { *self.cell(number).batch.get() = *batch };
        let put = pile.put(self, number, most, || ());
        if !put {
            self.empty.put(self, number, usize::MAX, || ());
        }
        put
    }

    /// Takes the batch on top of a pile. Says whether there was one.
    pub fn take(&self, pile: &Pile, batch: &mut Batch) -> bool {
        let Some(number) = pile.take(self, || ()) else { return false };
        self.empty_into(number, batch);
        true
    }

    /// Takes all batches of a pile at once, and hands them out, the one that was put first before
    /// the others. Gives their number.
    ///
    /// So the backend gets them in the order in which their objects were freed, and has neighbours
    /// side by side as if nobody stood in between.
    pub fn take_all(&self, pile: &Pile, mut each: impl FnMut(&Batch)) -> usize {
        let mut batch: Batch = [null_mut(); BATCH];
        let mut batches = 0;
        let mut next = self.turned(pile.take_all());
        while next != 0 {
            let number = next;
            next = self.cell(number).under.load(Relaxed);
            self.empty_into(number, &mut batch);
            each(&batch);
            batches += 1;
        }
        batches
    }

    /// Turns cells that were a pile, with this one on top, upside down. Gives the one that is on
    /// top then.
    fn turned(&self, top: Number) -> Number {
        let (mut turned, mut rest) = (0, top);
        while rest != 0 {
            let under = self.cell(rest).under.swap(turned, Relaxed);
            (turned, rest) = (rest, under);
        }
        turned
    }

    /// Takes the batch out of a cell that lies nowhere, and the cell is an empty one.
    fn empty_into(&self, number: Number, batch: &mut Batch) {
        // SAFETY: as in `put`; the batch that was put there.
        *batch = unsafe { *self.cell(number).batch.get() };
        self.empty.put(self, number, usize::MAX, || ());
    }

    fn an_empty_one(&self) -> Option<Number> {
        self.empty.take(self, || ()).or_else(|| self.a_new_one())
    }

    /// The number of a cell that was never used.
    pub fn a_new_one(&self) -> Option<Number> {
        self.slots.allocate().ok()?;
        let all = Number::try_from(self.slots.len() * CELLS).unwrap_or(Number::MAX);
        let used = self.used.fetch_update(Relaxed, Relaxed, |used| (used < all).then(|| used + 1));
        used.ok().map(|used| used + 1)
    }

    /// The cell of a number that [`Cells::a_new_one`] gave: so its slot is there.
    fn cell(&self, number: Number) -> &Cell {
        let index = usize::from(number) - 1;
        let slot = CpuId::new(index / CELLS).expect("as many as there are slots");
        &self.slots[slot][index % CELLS]
    }
}

impl Pile {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Puts a cell that lies nowhere on top, unless there are as many as `most`.
    ///
    /// `meanwhile` runs between the look at what is on top and the exchange, for tests.
    pub fn put(&self, cells: &Cells, number: Number, most: usize, mut meanwhile: impl FnMut()) -> bool {
        let cell = cells.cell(number);
        let mut word = self.0.load(Acquire);
        loop {
            let top = word as Number;
            // Of a cell that was taken meanwhile it may be anything: then the exchange fails, or a
            // pile that is nearly full refuses one.
            let height = if top == 0 { 0 } else { cells.cell(top).height.load(Relaxed) };
            if usize::from(height) >= most {
                return false;
            }
            cell.under.store(top, Relaxed);
            cell.height.store(height.wrapping_add(1), Relaxed);
            meanwhile();
            match self.0.compare_exchange_weak(word, changed(word, number), Release, Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Takes the cell on top: from then on it is the caller's. `meanwhile` as above.
    pub fn take(&self, cells: &Cells, mut meanwhile: impl FnMut()) -> Option<Number> {
        let mut word = self.0.load(Acquire);
        loop {
            let top = word as Number;
            if top == 0 {
                return None;
            }
            // Of a cell that was taken meanwhile it may be anything: then the exchange fails.
            let under = cells.cell(top).under.load(Relaxed);
            meanwhile();
            match self.0.compare_exchange_weak(word, changed(word, under), Acquire, Acquire) {
                Ok(_) => return Some(top),
                Err(now) => word = now,
            }
        }
    }
}

impl Pile {
    /// Takes all cells: those from the one on top on down, or none, are the caller's.
    fn take_all(&self) -> Number {
        // Versions go on.
        match self.0.fetch_update(Acquire, Acquire, |word| Some(changed(word, 0))) {
            Ok(word) | Err(word) => word as Number,
        }
    }
}

/// The word with another cell on top, and with the next version.
fn changed(word: u64, top: Number) -> u64 {
    (word & !u64::from(Number::MAX)).wrapping_add(VERSION) | u64::from(top)
}
