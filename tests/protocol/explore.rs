//! The sections of the examples, interrupted at each of their instructions.
#![cfg(target_os = "linux")]

#[path = "../../examples/doctor.rs"]
#[allow(dead_code, reason = "one function is explored")]
mod doctor;

use std::array;
use std::collections::BTreeSet;
use std::ptr::{self, NonNull};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use rseq::{CpuId, PerCpu, rseq};
use rseq_explore::Ran;
use rseq_operations::librseq::{self, Pair, Record, Table, WORDS};
use rseq_operations::slab::{self, Slab};
use support::explored::{Explored, is_counted};

/// Runs an operation that changes a number into the next one with each number in turn, until it was
/// the right one.
fn next(from_to: impl Fn(usize, usize) -> bool) {
    const NUMBERS: usize = 8;
    while !(0..NUMBERS).any(|number| from_to(number, number + 1)) {}
}

/// Explores an operation that counts in its CPU's slot; the operation that must not get lost is the
/// same.
fn counts<I: Iterator<Item = u64>>(name: &str, count: fn(), slots: fn() -> I) {
    let check = move |ran: &Ran<'_, (), ()>| is_counted(slots(), ran);
    Explored { name, section: &count, conflict: &count, check: &check }.must_be_exact();
}

#[path = "../../examples/counter"]
mod counter {
    use std::sync::atomic::AtomicU64;

    use rseq::{PerCpu, rseq};

    pub mod section;

    #[derive(Default)]
    pub struct Counts(pub [AtomicU64; 2]);

    pub static PER_CPU: PerCpu<Counts> = PerCpu::new();
}

#[test]
fn counter_counts() {
    support::alone!("counter_counts");
    fn add() {
        counter::section::add_per_cpu(1);
    }
    counts("counter", add, || counter::PER_CPU.iter().map(|counts| counts.0[1].load(Relaxed)));
}

#[test]
fn doctor_counts() {
    support::alone!("doctor_counts");
    // Its counters are its own; what it returns is the number of aborts.
    let check = |ran: &Ran<'_, u64, u64>| assert!(ran.sections.iter().all(|run| *run.value <= 2), "{ran:?}");
    Explored { name: "doctor", section: &doctor::increment, conflict: &doctor::increment, check: &check }
        .must_be_exact();
}

#[test]
fn add() {
    support::alone!("add");
    static COUNTS: PerCpu<AtomicUsize> = PerCpu::new();
    counts("add", || librseq::add(&COUNTS, 1), || COUNTS.iter().map(|count| count.load(Relaxed) as u64));
}

#[test]
fn compare_and_store() {
    support::alone!("compare_and_store");
    static NUMBERS: PerCpu<AtomicUsize> = PerCpu::new();
    let numbers = || NUMBERS.iter().map(|number| number.load(Relaxed) as u64);
    counts("compare_and_store", || next(|from, to| librseq::compare_and_store(&NUMBERS, from, to)), numbers);
}

#[test]
fn compare_both_and_store() {
    support::alone!("compare_both_and_store");
    static PAIRS: PerCpu<Pair> = PerCpu::new();
    let count = || next(|from, to| librseq::compare_both_and_store(&PAIRS, [from, 0], to));
    counts("compare_both_and_store", count, || PAIRS.iter().map(|pair| pair.first.load(Relaxed) as u64));
}

#[test]
fn compare_and_store_both() {
    support::alone!("compare_and_store_both");
    static PAIRS: PerCpu<Pair> = PerCpu::new();
    let count = || next(|from, to| librseq::compare_and_store_both(&PAIRS, from, [to, 10 * to]));
    counts("compare_and_store_both", count, || PAIRS.iter().map(|pair| pair.first.load(Relaxed) as u64));
}

#[test]
fn compare_copy_and_store() {
    support::alone!("compare_copy_and_store");
    static RECORDS: PerCpu<Record> = PerCpu::new();
    const COPY: fn(usize, usize) -> bool = |from, to| {
        // SAFETY: nobody reads the words.
        unsafe { librseq::compare_copy_and_store(&RECORDS, from, &[to as u64; WORDS], to) }
    };
    counts(
        "compare_copy_and_store",
        || next(COPY),
        || RECORDS.iter().map(|record| record.version.load(Relaxed) as u64),
    );
}

#[test]
fn add_behind() {
    support::alone!("add_behind");
    static COUNTERS: LazyLock<Vec<AtomicUsize>> =
        LazyLock::new(|| (0..rseq::slots()).map(|_| AtomicUsize::new(0)).collect());
    static ENTRIES: LazyLock<Vec<[AtomicPtr<AtomicUsize>; 2]>> = LazyLock::new(|| {
        let entry = |counter: &AtomicUsize| [AtomicPtr::default(), AtomicPtr::new(ptr::from_ref(counter).cast_mut())];
        COUNTERS.iter().map(entry).collect()
    });
    static TABLES: LazyLock<PerCpu<Table>> =
        LazyLock::new(|| PerCpu::from_fn(|slot| AtomicPtr::new(ENTRIES[slot].as_ptr().cast_mut())));
    // SAFETY: the second entry of each table points to a counter of its own.
    counts(
        "add_behind",
        || unsafe { librseq::add_behind(&TABLES, 1, 1) },
        || COUNTERS.iter().map(|count| count.load(Relaxed) as u64),
    );
}

/// The account of an operation on items, by their numbers.
#[derive(Debug, Default)]
struct Done {
    put: Vec<usize>,
    took: Vec<usize>,
}

/// How many items each slot is given before.
const GIVEN: usize = 4;
const ITEMS: usize = 64;

/// Hands out each number once, in this process and in each child of it.
#[derive(Default)]
struct Numbers(AtomicUsize);

impl Numbers {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Relaxed)
    }
}

/// Explores an operation on items, of which each slot has some. What was given or put must be there
/// once, unless somebody took it.
fn moves(
    name: &str,
    section: &(dyn Fn() -> Done + Sync),
    conflict: &(dyn Fn() -> Done + Sync),
    put: &(dyn Fn() -> Done + Sync),
    found: &(dyn Fn() -> Vec<usize> + Sync),
) {
    let given = AtomicUsize::new(0);
    let give = || {
        for _ in 0..GIVEN {
            given.fetch_add(put().put.len(), Relaxed);
        }
    };
    let check = |ran: &Ran<'_, Done, Done>| {
        let done = || ran.sections.iter().chain(&ran.conflicts).map(|run| run.value);
        let mut expected: BTreeSet<usize> =
            (0..given.load(Relaxed)).chain(done().flat_map(|done| done.put.clone())).collect();
        done()
            .flat_map(|done| &done.took)
            .for_each(|item| assert!(expected.remove(item), "{item} was there to be taken"));
        let mut found = found();
        found.sort_unstable();
        assert!(found.iter().eq(&expected), "there are {found:?}, and should be {expected:?}");
    };
    Explored { name, section, conflict, check: &check }.must_be_exact_after(&give);
}

#[test]
fn lists() {
    support::alone!("lists");
    static LISTS: PerCpu<AtomicPtr<librseq::Node>> = PerCpu::new();
    static NODES: LazyLock<[librseq::Node; ITEMS]> = LazyLock::new(|| array::from_fn(|_| librseq::Node::default()));
    static NUMBERS: Numbers = Numbers(AtomicUsize::new(0));
    fn number(node: NonNull<librseq::Node>) -> usize {
        (node.addr().get() - NODES.as_ptr().addr()) / size_of::<librseq::Node>()
    }
    fn push() -> Done {
        let number = NUMBERS.next();
        // SAFETY: a node of a static that is in no list, because its number is new.
        unsafe { librseq::list_push(&LISTS, NonNull::from(&NODES[number])) };
        Done { put: vec![number], ..Done::default() }
    }
    fn pop() -> Done {
        // SAFETY: lists hold such nodes.
        let node = unsafe { librseq::list_pop(&LISTS) };
        Done { took: node.into_iter().map(number).collect(), ..Done::default() }
    }
    /// Operations that a pop would spoil which took the first for the one behind it.
    fn pop_two_and_push_one() -> Done {
        // SAFETY: as above; what was popped is in no list.
        unsafe {
            let first = librseq::list_pop(&LISTS);
            let second = librseq::list_pop(&LISTS);
            first.into_iter().for_each(|first| librseq::list_push(&LISTS, first));
            Done { took: second.into_iter().map(number).collect(), ..Done::default() }
        }
    }
    fn found() -> Vec<usize> {
        let mut found = Vec::new();
        for head in &LISTS {
            let mut next = NonNull::new(head.load(Relaxed));
            while let Some(node) = next.filter(|_| found.len() <= ITEMS) {
                found.push(number(node));
                // SAFETY: lists hold such nodes.
                next = NonNull::new(unsafe { node.as_ref() }.next.load(Relaxed));
            }
        }
        found
    }
    moves("list_push", &push, &pop, &push, &found);
    moves("list_pop", &pop, &pop_two_and_push_one, &push, &found);
}

#[test]
fn slabs() {
    support::alone!("slabs");
    static SLABS: PerCpu<Slab> = PerCpu::new();
    static NUMBERS: Numbers = Numbers(AtomicUsize::new(0));
    // The slab doesn't look behind its pointers: they are numbers.
    fn item(number: usize) -> *mut u8 {
        ptr::without_provenance_mut(number + 1)
    }
    fn number(item: *mut u8) -> usize {
        item.addr() - 1
    }
    fn push() -> Done {
        let number = NUMBERS.next();
        assert!(slab::push(&SLABS, item(number)), "there is room");
        Done { put: vec![number], ..Done::default() }
    }
    fn pop() -> Done {
        Done { took: slab::pop(&SLABS).into_iter().map(number).collect(), ..Done::default() }
    }
    fn push_two() -> Done {
        let put = vec![NUMBERS.next(), NUMBERS.next()];
        assert_eq!(slab::push_batch(&SLABS, &[item(put[0]), item(put[1])]), 2, "there is room");
        Done { put, ..Done::default() }
    }
    fn pop_two() -> Done {
        let mut batch = [ptr::null_mut(); 2];
        let count = slab::pop_batch(&SLABS, &mut batch);
        Done { took: batch[..count].iter().map(|item| number(*item)).collect(), ..Done::default() }
    }
    fn found() -> Vec<usize> {
        SLABS.iter().flat_map(Slab::items).map(number).collect()
    }
    moves("slab push", &push, &pop, &push, &found);
    moves("slab pop", &pop, &push, &push, &found);
    moves("slab push_batch", &push_two, &pop_two, &push, &found);
    moves("slab pop_batch", &pop_two, &push_two, &push, &found);
}

/// The sections of the crate's stacks and rings, with items that travel as words and such that are
/// copied.
#[path = "../../src"]
mod types {
    use std::ptr::without_provenance_mut;

    use rseq::__private;

    use super::*;

    #[allow(dead_code, reason = "nothing is put into them but by sections")]
    mod cells;
    mod ring {
        use super::*;
        pub mod sections;
    }
    #[allow(dead_code, reason = "only those that move items are explored")]
    mod stack {
        use super::*;
        pub mod sections;
    }

    use cells::Cells;
    use ring::sections::Track;
    use stack::sections::Shelf;

    const ROOM: usize = 16;
    type Words = usize;
    type Copies = [usize; 3];

    // SAFETY: both are numbers and cells, whose bytes mean nothing.
    static SHELVES: PerCpu<Shelf<Words, ROOM>> = unsafe { PerCpu::zeroed() };
    // SAFETY: as above.
    static SHELVES_OF_COPIES: PerCpu<Shelf<Copies, ROOM>> = unsafe { PerCpu::zeroed() };
    // SAFETY: as above.
    static TRACKS: PerCpu<Track<Words, ROOM>> = unsafe { PerCpu::zeroed() };
    // SAFETY: as above.
    static TRACKS_OF_COPIES: PerCpu<Track<Copies, ROOM>> = unsafe { PerCpu::zeroed() };
    static NUMBERS: Numbers = Numbers(AtomicUsize::new(0));

    fn put(put: impl Fn(usize) -> bool) -> Done {
        let number = NUMBERS.next();
        assert!(put(number), "there is room");
        Done { put: vec![number], ..Done::default() }
    }

    fn took(number: Option<usize>) -> Done {
        Done { took: number.into_iter().collect(), ..Done::default() }
    }

    /// The number of an item whose words are all the same.
    fn whole([first, second, third]: Copies) -> usize {
        assert_eq!((first, first), (second, third), "an item of two parts");
        first
    }

    /// The items in so many of the first cells.
    fn items<T: Copy>(cells: &Cells<T, ROOM>, count: &AtomicUsize) -> Vec<T> {
        // SAFETY: as many were pushed, and numbers are copied.
        (0..count.load(Relaxed)).map(|at| unsafe { cells.take(at) }).collect()
    }

    #[test]
    fn stacks() {
        support::alone!("stacks");
        let push = || put(|number| stack::sections::push_word(&SHELVES, without_provenance_mut(number)));
        let pop = || took(stack::sections::pop_word(&SHELVES).map(|word| word.addr()));
        let found = || SHELVES.iter().flat_map(|shelf| items(&shelf.items, &shelf.len)).collect();
        moves("push of a word to a stack", &push, &pop, &push, &found);
        moves("pop of a word from a stack", &pop, &push, &push, &found);
    }

    #[test]
    fn stacks_of_copies() {
        support::alone!("stacks_of_copies");
        // SAFETY: there is an item.
        let push = || put(|number| unsafe { stack::sections::push_copy(&SHELVES_OF_COPIES, &[number; 3]) });
        let pop = || {
            let mut item = [0; 3];
            // SAFETY: there is room for an item.
            let popped = unsafe { stack::sections::pop_copy(&SHELVES_OF_COPIES, &raw mut item) };
            took(popped.then(|| whole(item)))
        };
        let found = || SHELVES_OF_COPIES.iter().flat_map(|shelf| items(&shelf.items, &shelf.len)).map(whole).collect();
        moves("push of a copy to a stack", &push, &pop, &push, &found);
        moves("pop of a copy from a stack", &pop, &push, &push, &found);
    }

    #[test]
    fn rings() {
        support::alone!("rings");
        let push = || put(|number| ring::sections::push_word(&TRACKS, without_provenance_mut(number)));
        let found = || TRACKS.iter().flat_map(|track| items(&track.items, &track.tail)).collect();
        moves("push of a word to a ring", &push, &push, &push, &found);
        // SAFETY: there is an item.
        let push = || put(|number| unsafe { ring::sections::push_copy(&TRACKS_OF_COPIES, &[number; 3]) });
        let found = || TRACKS_OF_COPIES.iter().flat_map(|track| items(&track.items, &track.tail)).map(whole).collect();
        moves("push of a copy to a ring", &push, &push, &push, &found);
    }
}

#[path = "../../examples/push_pop"]
mod buffers {
    use super::*;

    mod sections;

    use sections::{Array, pop_from_array, pop_from_list, push_to_array, push_to_list};

    const CAPACITY: usize = 16;

    #[derive(Default)]
    struct Node {
        next: AtomicPtr<Node>,
    }

    struct Owned(&'static Node);

    impl Owned {
        fn pointer(&self) -> *mut Node {
            ptr::from_ref(self.0).cast_mut()
        }

        fn number(&self) -> usize {
            number(self.pointer())
        }
    }

    #[derive(Default)]
    struct Tally {
        aborts: u64,
    }

    impl Tally {
        fn committed(&mut self, _: CpuId) {}
    }

    static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
    static ARRAYS: PerCpu<Array> = PerCpu::new();
    static NODES: LazyLock<[Node; ITEMS]> = LazyLock::new(|| array::from_fn(|_| Node::default()));
    static NUMBERS: Numbers = Numbers(AtomicUsize::new(0));

    fn number(node: *mut Node) -> usize {
        (node.addr() - NODES.as_ptr().addr()) / size_of::<Node>()
    }

    fn took(node: Option<Owned>) -> Done {
        Done { took: node.iter().map(Owned::number).collect(), ..Done::default() }
    }

    fn push() -> Done {
        let number = NUMBERS.next();
        push_to_list(Owned(&NODES[number]), &mut Tally::default());
        Done { put: vec![number], ..Done::default() }
    }

    fn pop() -> Done {
        took(pop_from_list(&mut Tally::default()))
    }

    fn found() -> Vec<usize> {
        let mut found = Vec::new();
        for head in &LISTS {
            let mut next = head.load(Relaxed);
            while !next.is_null() && found.len() <= ITEMS {
                found.push(number(next));
                // SAFETY: lists hold nodes of a static.
                next = unsafe { (*next).next.load(Relaxed) };
            }
        }
        found
    }

    fn push_in_array() -> Done {
        let number = NUMBERS.next();
        assert!(push_to_array(Owned(&NODES[number]), &mut Tally::default()).is_ok(), "there is room");
        Done { put: vec![number], ..Done::default() }
    }

    fn pop_in_array() -> Done {
        took(pop_from_array(&mut Tally::default()))
    }

    fn found_in_arrays() -> Vec<usize> {
        let entries = ARRAYS.iter().flat_map(|array| &array.0).map(|entry| entry.load(Relaxed));
        entries.filter(|entry| !entry.is_null()).map(number).collect()
    }

    #[test]
    fn push_and_pop() {
        support::alone!("push_and_pop");
        moves("push_to_list", &push, &pop, &push, &found);
        moves("pop_from_list", &pop, &push, &push, &found);
        moves("push_to_array", &push_in_array, &pop_in_array, &push_in_array, &found_in_arrays);
        moves("pop_from_array", &pop_in_array, &push_in_array, &push_in_array, &found_in_arrays);
    }
}
