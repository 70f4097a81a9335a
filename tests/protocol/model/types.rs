//! Stacks and rings of a few items, moved by two threads, of which one takes from the other's CPU
//! by the drain protocol.

use std::cell::{Cell, RefCell};

use rseq_explore::model::{Bounds, Done, Failure, Model, Report};

use super::ring::Ring;
use super::stack::Stack;

const ITEMS: usize = 3;
/// More than two threads and two handlers have in their hands.
const MANY: usize = 5;
/// More than there are items.
const ROOM: usize = 6;

/// An operation, with what came of it.
pub type Searched = (&'static str, Result<Report, Box<Failure>>);

/// A probe for somebody who waits for a thread that has stopped a shelf, or takes that for an
/// answer.
pub const TAKEN_FROM: &str = "stack, always with items and room, taken from";

/// Each is searched when its turn comes.
pub fn searched() -> impl Iterator<Item = Searched> {
    type Stacked = fn(&Stacks);
    let stacks: [(_, _, _, [Stacked; 3]); 6] = [
        (TAKEN_FROM, MANY, 1, [Stacks::pop_and_push; 3]),
        ("stack, from which others move what is looked for", ITEMS, 1, [Stacks::keep; 3]),
        ("stack", ITEMS, 0, [Stacks::move_here; 3]),
        (
            "stack, taken from while its CPU pops and pushes",
            ITEMS,
            1,
            [Stacks::move_here, Stacks::steal, Stacks::move_here],
        ),
        ("stack, taken from by two", ITEMS, 1, [Stacks::steal, Stacks::steal, Stacks::move_here]),
        ("stack, always with items and room", MANY, 0, [Stacks::pop_and_push; 3]),
    ];
    let stacks = stacks.into_iter().map(|(name, items, other, [one, two, handler])| {
        let model = Model::new(move || Stacks::of(items)).thread(0, one).thread(other, two).handler(handler);
        (name, model.check(Stacks::check).search(Bounds::events(2)))
    });
    let rings: [(_, _, fn(&Rings)); 2] =
        [("ring", 0, Rings::push), ("ring, drained while its CPU pushes", 1, Rings::drain)];
    stacks.chain(rings.into_iter().map(|(name, other, two)| {
        let model = Model::new(Rings::new).thread(0, Rings::push).thread(other, two).handler(Rings::push);
        (name, model.check(Rings::check).search(Bounds::events(2)))
    }))
}

/// A stack of numbers, all on CPU 0.
struct Stacks {
    stack: Stack<usize, ROOM>,
    /// How often each was taken.
    moves: Vec<Cell<u64>>,
    moved: Cell<u64>,
    /// Those for which there was no room where they came to, or that weren't put back.
    kept: RefCell<Vec<usize>>,
    /// Pops that found none.
    missed: Cell<usize>,
}

impl Stacks {
    fn of(items: usize) -> Self {
        super::COUNTS.allocate().expect("there is memory");
        let stack = Stack::new();
        stack.allocate().expect("there is memory");
        // So the next one that looks through the CPUs begins with the other one.
        assert_eq!(stack.pop(), None);
        (0..items).for_each(|item| assert!(stack.push_here(item).is_ok()));
        let moves = vec![Cell::default(); items];
        Self { stack, moves, moved: Cell::new(0), kept: RefCell::default(), missed: Cell::new(0) }
    }

    /// Takes an item from this CPU and puts it back.
    fn move_here(&self) {
        self.put_back(self.stack.pop_here());
    }

    /// Takes an item from any CPU and puts it back: there is one, and there is room, at every
    /// moment.
    fn pop_and_push(&self) {
        let item = self.stack.pop().expect("there are items");
        self.moves[item].set(self.moves[item].get() + 1);
        self.moved.set(self.moved.get() + 1);
        assert_eq!(self.stack.push(item), Ok(()), "there is room");
    }

    /// Takes an item from any CPU and keeps it.
    fn keep(&self) {
        match self.stack.pop() {
            Some(item) => self.kept.borrow_mut().push(item),
            None => self.missed.set(self.missed.get() + 1),
        }
    }

    /// Takes an item from any CPU and puts it back here.
    fn steal(&self) {
        self.put_back(self.stack.steal());
    }

    /// Counts what the item's only owner does with it, without any protection.
    fn put_back(&self, item: Option<usize>) {
        let Some(item) = item else { return };
        self.moves[item].set(self.moves[item].get() + 1);
        self.moved.set(self.moved.get() + 1);
        if let Err(item) = self.stack.push_here(item) {
            self.kept.borrow_mut().push(item);
        }
    }

    fn check(&self, done: Done) {
        let mut items = self.kept.take();
        if items.len() + self.missed.get() == done.all() {
            assert_eq!(self.missed.get(), done.all().saturating_sub(self.moves.len()), "pops found none too early");
        }
        // More than there were, if some are there twice.
        items.extend(std::iter::from_fn(|| self.stack.pop()).take(2 * MANY));
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..self.moves.len()), "each item is there once: {items:?}");
        assert_eq!(self.moves.iter().map(Cell::get).sum::<u64>(), self.moved.get());
    }
}

/// A ring with room for two, into which numbers are pushed that were never there.
struct Rings {
    ring: Ring<usize, 2>,
    next: Cell<usize>,
    taken: RefCell<Vec<usize>>,
}

impl Rings {
    fn new() -> Self {
        super::COUNTS.allocate().expect("there is memory");
        let rings = Self { ring: Ring::new(), next: Cell::new(0), taken: RefCell::default() };
        rings.ring.allocate().expect("there is memory");
        rings.push();
        rings
    }

    fn push(&self) {
        let item = self.next.replace(self.next.get() + 1);
        if let Err(item) = self.ring.push(item) {
            self.taken.borrow_mut().push(item);
        }
    }

    /// Takes what there is, with a section between one and the next, where the other CPU may come
    /// in.
    fn drain(&self) {
        // (A handler may come on top of another thread's draining, on the other CPU.)
        for item in self.ring.drain().into_iter().flatten() {
            super::between();
            self.taken.borrow_mut().push(item);
        }
    }

    fn check(&self, _: Done) {
        let mut items = self.taken.take();
        items.extend(self.ring.drain().expect("nobody else drains").take(10));
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..self.next.get()), "each item is there once: {items:?}");
    }
}
