//! The memory of the operations of `examples/operations`, which `super::librseq` and `super::slab`
//! have.

use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use rseq::PerCpu;
use rseq_explore::model::{Bounds, Done, Failure, Model, Report};

use super::librseq::{self, Node, Pair, Record, Table, WORDS};
use super::slab::{self, Slab};

/// Runs an operation by two threads that share a CPU or have one each, with handlers that do the
/// same.
fn search<S: 'static>(
    setup: impl Fn() -> S + Clone + 'static,
    operation: fn(&S),
    check: fn(&S, Done),
) -> Result<Vec<Report>, Box<Failure>> {
    let on = |other| {
        let model = Model::new(setup.clone()).thread(0, operation).thread(other, operation).handler(operation);
        model.check(check).search(Bounds::events(2))
    };
    [0, 1].into_iter().map(on).collect()
}

/// An operation, with what came of it.
pub type Searched = (&'static str, Result<Vec<Report>, Box<Failure>>);

pub fn searched() -> Vec<Searched> {
    vec![
        ("compare_and_store", search(Words::new, Words::compare_and_store, Words::check)),
        ("add", search(made, |counts| librseq::add(counts, 1), is_counted)),
        ("list_pop, list_push", search(Lists::new, Lists::move_one, Lists::check)),
        ("compare_both_and_store", search(Pairs::new, Pairs::compare_both_and_store, Pairs::check)),
        ("compare_and_store_both", search(Pairs::new, Pairs::compare_and_store_both, Pairs::check)),
        ("compare_copy_and_store", search(Records::new, Records::compare_copy_and_store, Records::check)),
        ("add_behind", search(Tables::new, Tables::add, Tables::check)),
        ("pop, push", search(Slabs::new, Slabs::move_one, Slabs::check)),
        ("pop_batch, push_batch", search(Slabs::new, Slabs::move_two, Slabs::check)),
    ]
}

/// Slots that are there before a section uses them, which would add to its steps.
fn made<T: Default>() -> PerCpu<T> {
    PerCpu::from_fn(|_| T::default())
}

/// The number of whoever asks, from 1 on.
#[derive(Default)]
struct Numbers(Cell<usize>);

impl Numbers {
    fn next(&self) -> usize {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

/// Words that are 0 until somebody stores its number.
struct Words {
    words: PerCpu<AtomicUsize>,
    numbers: Numbers,
    /// Who stored.
    stored: RefCell<Vec<usize>>,
}

impl Words {
    fn new() -> Self {
        Self { words: made(), numbers: Numbers::default(), stored: RefCell::default() }
    }

    fn compare_and_store(&self) {
        let number = self.numbers.next();
        if librseq::compare_and_store(&self.words, 0, number) {
            self.stored.borrow_mut().push(number);
        }
    }

    fn check(&self, _: Done) {
        is_stored(self.words.iter().map(|word| word.load(Relaxed)), &self.stored.borrow());
    }
}

/// Each slot has the number of one that says that it stored, and no two of these had the same slot.
fn is_stored(words: impl Iterator<Item = usize>, stored: &[usize]) {
    let mut words: Vec<usize> = words.filter(|word| *word != 0).collect();
    let mut stored = stored.to_vec();
    words.sort_unstable();
    stored.sort_unstable();
    assert_eq!(words, stored, "what there is, and what was stored");
    assert!(!words.is_empty(), "the first one finds nothing");
}

fn is_counted(counts: &PerCpu<AtomicUsize>, done: Done) {
    assert_eq!(counts.iter().map(|count| count.load(Relaxed)).sum::<usize>(), done.all());
}

/// Each item is there once, and they were moved as often as somebody moved one.
fn is_whole(mut items: Vec<usize>, moves: impl Iterator<Item = u64>, moved: u64) {
    items.sort_unstable();
    assert!(items.iter().copied().eq(0..items.len()), "each item is there once: {items:?}");
    assert_eq!((items.len(), moves.sum::<u64>()), (ITEMS, moved), "how many items, and how often they were moved");
}

const ITEMS: usize = 3;

/// A list on each CPU.
struct Lists {
    heads: PerCpu<AtomicPtr<Node>>,
    nodes: Box<[Node; ITEMS]>,
    moved: Cell<u64>,
}

impl Lists {
    fn new() -> Self {
        let lists = Self { heads: made(), nodes: Box::default(), moved: Cell::new(0) };
        let heads: Vec<&AtomicPtr<Node>> = lists.heads.iter().collect();
        for (node, head) in lists.nodes.iter().zip([heads[0], heads[0], heads[1]]) {
            node.next.store(head.load(Relaxed), Relaxed);
            head.store(ptr::from_ref(node).cast_mut(), Relaxed);
        }
        lists
    }

    /// Takes a node, changes it without any protection, and puts it back.
    fn move_one(&self) {
        // SAFETY: the lists hold these nodes alone, which are there as long as the lists.
        let Some(node) = (unsafe { librseq::list_pop(&self.heads) }) else { return };
        // SAFETY: as above.
        let value = unsafe { &node.as_ref().value };
        value.store(value.load(Relaxed) + 1, Relaxed);
        self.moved.set(self.moved.get() + 1);
        // SAFETY: it was popped just now.
        unsafe { librseq::list_push(&self.heads, node) };
    }

    fn check(&self, _: Done) {
        let start = self.nodes.as_ptr().addr();
        let mut found = Vec::new();
        for head in &self.heads {
            let mut next = NonNull::new(head.load(Relaxed));
            // A list that lost its end goes round.
            while let Some(node) = next.filter(|_| found.len() <= ITEMS) {
                found.push((node.addr().get() - start) / size_of::<Node>());
                // SAFETY: a list holds nodes that are there.
                next = NonNull::new(unsafe { node.as_ref() }.next.load(Relaxed));
            }
        }
        is_whole(found, self.nodes.iter().map(|node| node.value.load(Relaxed)), self.moved.get());
    }
}

/// Two words on each CPU.
struct Pairs {
    pairs: PerCpu<Pair>,
    numbers: Numbers,
    stored: RefCell<Vec<usize>>,
}

impl Pairs {
    fn new() -> Self {
        Self { pairs: made(), numbers: Numbers::default(), stored: RefCell::default() }
    }

    fn compare_both_and_store(&self) {
        let number = self.numbers.next();
        if librseq::compare_both_and_store(&self.pairs, [0, 0], number) {
            self.stored.borrow_mut().push(number);
        }
    }

    fn compare_and_store_both(&self) {
        let number = self.numbers.next();
        if librseq::compare_and_store_both(&self.pairs, 0, [number, 10 * number]) {
            self.stored.borrow_mut().push(number);
        }
    }

    fn check(&self, _: Done) {
        is_stored(self.pairs.iter().map(|pair| pair.first.load(Relaxed)), &self.stored.borrow());
        for pair in &self.pairs {
            let [first, second] = [&pair.first, &pair.second].map(|word| word.load(Relaxed));
            // The second word means something with the first one alone; not every operation stores
            // it.
            assert!(first == 0 || second == 0 || second == 10 * first, "{first} belongs to {second}");
        }
    }
}

/// A version and its words on each CPU.
struct Records {
    records: PerCpu<Record>,
    numbers: Numbers,
    stored: RefCell<Vec<usize>>,
}

impl Records {
    fn new() -> Self {
        Self { records: made(), numbers: Numbers::default(), stored: RefCell::default() }
    }

    fn compare_copy_and_store(&self) {
        let number = self.numbers.next();
        // SAFETY: nobody reads the words before the end.
        if unsafe { librseq::compare_copy_and_store(&self.records, 0, &[number as u64; WORDS], number) } {
            self.stored.borrow_mut().push(number);
        }
    }

    fn check(&self, _: Done) {
        is_stored(self.records.iter().map(|record| record.version.load(Relaxed)), &self.stored.borrow());
        for record in self.records.iter().filter(|record| record.version.load(Relaxed) != 0) {
            let (version, words) = (record.version.load(Relaxed) as u64, &record.words);
            assert!(words.iter().all(|word| word.load(Relaxed) == version), "the words of version {version}");
        }
    }
}

/// On each CPU a pointer to a table of pointers to counters.
struct Tables {
    tables: PerCpu<Table>,
    counters: Rc<[AtomicUsize]>,
    _entries: Rc<[[AtomicPtr<AtomicUsize>; 2]]>,
}

impl Tables {
    fn new() -> Self {
        let counters: Rc<[AtomicUsize]> = (0..rseq::slots()).map(|_| AtomicUsize::new(0)).collect();
        let entry = |counter: &AtomicUsize| [AtomicPtr::default(), AtomicPtr::new(ptr::from_ref(counter).cast_mut())];
        let entries: Rc<[_]> = counters.iter().map(entry).collect();
        let tables = PerCpu::from_fn(|slot| AtomicPtr::new(entries[slot].as_ptr().cast_mut()));
        Self { tables, counters, _entries: entries }
    }

    fn add(&self) {
        // SAFETY: the second entry of each table points to a counter of its own.
        unsafe { librseq::add_behind(&self.tables, 1, 1) };
    }

    fn check(&self, done: Done) {
        assert_eq!(self.counters.iter().map(|counter| counter.load(Relaxed)).sum::<usize>(), done.all());
    }
}

/// A slab on each CPU.
struct Slabs {
    slabs: PerCpu<Slab>,
    moves: Box<[Cell<u64>; ITEMS]>,
    moved: Cell<u64>,
}

impl Slabs {
    fn new() -> Self {
        let slabs = Self { slabs: made(), moves: Box::default(), moved: Cell::new(0) };
        // Outside of a run: on CPU 0.
        for item in slabs.moves.iter() {
            assert!(slab::push(&slabs.slabs, ptr::from_ref(item).cast_mut().cast()));
        }
        slabs
    }

    /// Moves an item without any protection: it was taken.
    fn touch(&self, item: *mut u8) {
        let item = &self.moves[self.number(item)];
        item.set(item.get() + 1);
        self.moved.set(self.moved.get() + 1);
    }

    fn number(&self, item: *mut u8) -> usize {
        (item.addr() - self.moves.as_ptr().addr()) / size_of::<Cell<u64>>()
    }

    fn move_one(&self) {
        let Some(item) = slab::pop(&self.slabs) else { return };
        self.touch(item);
        assert!(slab::push(&self.slabs, item));
    }

    fn move_two(&self) {
        let mut batch = [ptr::null_mut(); 2];
        let count = slab::pop_batch(&self.slabs, &mut batch);
        batch[..count].iter().for_each(|item| self.touch(*item));
        assert_eq!(slab::push_batch(&self.slabs, &batch[..count]), count);
    }

    fn check(&self, _: Done) {
        let items = self.slabs.iter().flat_map(Slab::items).map(|item| self.number(item)).collect();
        is_whole(items, self.moves.iter().map(Cell::get), self.moved.get());
    }
}
