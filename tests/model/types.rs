//! Stacks and rings of three items, moved by two threads, of which one takes from the other's CPU by the drain protocol.

use std::cell::{Cell, RefCell};

use rseq_explore::model::{Bounds, Done, Failure, Model, Report};

use super::ring::Ring;
use super::stack::Stack;

const ITEMS: usize = 3;

/// An operation, with what came of it.
pub type Searched = (&'static str, Result<Report, Box<Failure>>);

pub fn searched() -> Vec<Searched> {
    let stack = |other, one: fn(&Stacks), two: fn(&Stacks)| {
        let model = Model::new(Stacks::new).thread(0, one).thread(other, two);
        model.handler(Stacks::move_here).check(Stacks::check).search(Bounds::events(2))
    };
    let ring = |other, two: fn(&Rings)| {
        let model = Model::new(Rings::new).thread(0, Rings::push).thread(other, two);
        model.handler(Rings::push).check(Rings::check).search(Bounds::events(2))
    };
    vec![
        ("stack", stack(0, Stacks::move_here, Stacks::move_here)),
        ("stack, taken from while its CPU pops and pushes", stack(1, Stacks::move_here, Stacks::steal)),
        ("stack, taken from by two", stack(1, Stacks::steal, Stacks::steal)),
        ("ring", ring(0, Rings::push)),
        ("ring, drained while its CPU pushes", ring(1, Rings::drain)),
    ]
}

/// A stack of numbers, all on CPU 0.
struct Stacks {
    stack: Stack<usize, 4>,
    /// How often each was taken.
    moves: [Cell<u64>; ITEMS],
    moved: Cell<u64>,
    /// Those for which there was no room where they came to.
    kept: RefCell<Vec<usize>>,
}

impl Stacks {
    fn new() -> Self {
        super::COUNTS.allocate().expect("there is memory");
        let stack = Stack::new();
        stack.allocate().expect("there is memory");
        (0..ITEMS).for_each(|item| assert!(stack.push_here(item).is_ok()));
        Self { stack, moves: Default::default(), moved: Cell::new(0), kept: RefCell::default() }
    }

    /// Takes an item from this CPU and puts it back.
    fn move_here(&self) {
        self.put_back(self.stack.pop_here());
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

    fn check(&self, _: Done) {
        let mut items = self.kept.take();
        // More than there were, if some are there twice.
        items.extend(std::iter::from_fn(|| self.stack.pop()).take(2 * ITEMS));
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..ITEMS), "each item is there once: {items:?}");
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

    /// Takes what there is, with a section between one and the next, where the other CPU may come in.
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
