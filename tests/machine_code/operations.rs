//! The operations of librseq and of tcmalloc's slabs, as `examples/operations` has them: right in
//! every mode, nothing lost under disturbance, and counted. `BLESS=1 cargo test --test
//! machine_code operations` writes the counts into docs/operations.md.
//!
//! Nothing lost means: items are popped from lists or slabs, changed by who popped them without any
//! protection, and pushed again; then each is there once and was changed as often as it was popped.
//! As in `exact`, there are controls that must fail: the same operations by windows that aren't
//! armed.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::duplicate_mod, reason = "once as they are, and once unarmed")]

use std::fmt::Write;
use std::panic::catch_unwind;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use std::{array, thread};

use super::code::{Code, section};
use super::golden;
use rseq::PerCpu;
use rseq_operations as whole;
use rseq_operations::librseq::{self, Node, Pair, Record, Table, WORDS};
use rseq_operations::slab::{self, CAPACITY, Slab};
use support::fixture::Fixture;
use support::{
    Count, Disturbance, forced_portable, in_processes, lists, restartable, run_on, slabs, with_own_registration,
};

/// A function of the fixture, what it does, and librseq's instructions for the same.
type Operation = (&'static str, &'static str, Option<(usize, usize)>);

/// The functions of the fixture, what they do, and what librseq's code for the same takes, where
/// that is known: all in all, and in the window.
const OPERATIONS: [Operation; 12] = [
    ("counter", "add", Some((12, 3))),
    ("compare_and_store", "compare, store", Some((15, 5))),
    ("list_push", "list push", Some((16, 5))),
    ("list_pop", "list pop", Some((22, 9))),
    ("compare_both_and_store", "compare two, store", Some((20, 7))),
    ("compare_and_store_both", "compare, store two (the second by release)", Some((19, 6))),
    ("compare_copy_and_store", "compare, copy, store by release", None),
    ("add_behind", "dereference at an offset, add", Some((18, 6))),
    ("slab_push", "buffer push", Some((20, 6))),
    ("slab_pop", "buffer pop", Some((23, 7))),
    ("slab_push_batch", "batch push", None),
    ("slab_pop_batch", "batch pop", None),
];

/// The table of docs/operations.md.
fn table() -> String {
    let library = Fixture::new("operations").build().join("liboperations.so");
    let bytes = std::fs::read(library).expect("it was just built");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let mut table =
        String::from("| operation | all | from arming | in the window | librseq |\n|---|---|---|---|---|\n");
    for (function, name, librseq) in OPERATIONS {
        let path = Code::of(&file, function).fast_path();
        let (section, window) = section(&path);
        let (all, section, window) = (path.len(), section.len(), window.len());
        let theirs = librseq.map_or_else(|| "-".to_owned(), |(all, window)| format!("{all} ({window})"));
        writeln!(table, "| {name} | {all} | {section} | {window} | {theirs} |").expect("a string takes everything");
        if let Some((most, _)) = librseq {
            assert!(section <= most, "{name} takes {section} instructions, and librseq {most}");
        }
    }
    table
}

#[test]
fn counts_are_those_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    if !golden::is_of_this_compiler("the table") {
        return;
    }
    let found = table();
    let text = std::fs::read_to_string(&path).expect("the documentation is there");
    let start = text.find("| operation |").expect("it has the table");
    let end = start + text[start..].find("\n\n").map_or(text.len() - start, |end| end + 1);
    if golden::is_blessing() {
        std::fs::write(&path, format!("{}{found}{}", &text[..start], &text[end..])).expect("the folder is there");
        return;
    }
    assert_eq!(&text[start..end], found, "read what changed, then BLESS=1 cargo test --test machine_code operations");
}

/// The same by sections that nothing interrupts, because they aren't armed.
#[allow(dead_code, reason = "not every operation is used")]
#[path = "../../examples/operations"]
mod unarmed {
    macro_rules! section {
        ($($tokens:tt)*) => {
            ::rseq::__mutant! { [no_arm] $($tokens)* }
        };
    }
    use section as rseq;

    pub mod librseq;
    pub mod slab;
}

/// Runs a test on one CPU, so that all its sections have the same slot. (In portable mode a thread
/// has one anyhow.)
fn on_one_slot(test: impl FnOnce() + Send + 'static) {
    println!("mode: {:?}", support::mode());
    let test = move || {
        run_on(&support::available_cpus()[..1]);
        test();
    };
    thread::spawn(test).join().expect("the operations are right");
}

/// The value of the slot that sections use, if all others have their first value.
fn value<T, V: PartialEq + Copy>(slots: &PerCpu<T>, of: impl Fn(&T) -> V, first: V) -> V {
    let changed: Vec<V> = slots.iter().map(of).filter(|value| *value != first).collect();
    assert!(changed.len() <= 1, "one slot changes");
    changed.first().copied().unwrap_or(first)
}

#[test]
fn compares_and_stores() {
    on_one_slot(|| {
        let slots = PerCpu::from_fn(|_| AtomicUsize::new(7));
        let now = || value(&slots, |word| word.load(Relaxed), 7);
        assert!(!librseq::compare_and_store(&slots, 6, 1));
        assert_eq!(now(), 7);
        assert!(librseq::compare_and_store(&slots, 7, usize::MAX));
        assert_eq!(now(), usize::MAX);
        assert!(!librseq::compare_and_store(&slots, 7, 1));
        assert!(librseq::compare_and_store(&slots, usize::MAX, 0));
        assert_eq!(now(), 0);
    });
}

#[test]
fn adds() {
    on_one_slot(|| {
        let slots = PerCpu::new();
        let now = || value(&slots, |count: &AtomicUsize| count.load(Relaxed), 0);
        for (count, sum) in [(5, 5), (1 << 40, (1 << 40) + 5), (usize::MAX - (1 << 40), 4)] {
            librseq::add(&slots, count);
            assert_eq!(now(), sum);
        }
    });
}

#[test]
fn pushes_to_lists_and_pops() {
    on_one_slot(|| {
        let lists: PerCpu<AtomicPtr<Node>> = PerCpu::new();
        let nodes: [Node; 3] = array::from_fn(|_| Node::default());
        // SAFETY: the nodes are there to the end of the test, and each is pushed once.
        unsafe {
            assert_eq!(librseq::list_pop(&lists), None);
            nodes.iter().for_each(|node| librseq::list_push(&lists, NonNull::from(node)));
        }
        assert_eq!(value(&lists, |head| head.load(Relaxed).cast_const(), ptr::null()), &raw const nodes[2]);
        let next = nodes.each_ref().map(|node| node.next.load(Relaxed).cast_const());
        assert_eq!(next, [ptr::null(), &raw const nodes[0], &raw const nodes[1]]);
        for node in nodes.iter().rev() {
            // SAFETY: as above.
            assert_eq!(unsafe { librseq::list_pop(&lists) }, Some(NonNull::from(node)));
        }
        // SAFETY: as above.
        assert_eq!(unsafe { librseq::list_pop(&lists) }, None);
    });
}

fn pairs() -> PerCpu<Pair> {
    PerCpu::from_fn(|_| Pair { first: 7.into(), second: 8.into() })
}

fn both(slots: &PerCpu<Pair>) -> [usize; 2] {
    value(slots, |pair| [pair.first.load(Relaxed), pair.second.load(Relaxed)], [7, 8])
}

#[test]
fn compares_two_and_stores() {
    on_one_slot(|| {
        let slots = pairs();
        for unequal in [[6, 8], [7, 9], [8, 7], [0, 0]] {
            assert!(!librseq::compare_both_and_store(&slots, unequal, 1));
            assert_eq!(both(&slots), [7, 8]);
        }
        assert!(librseq::compare_both_and_store(&slots, [7, 8], 1));
        assert_eq!(both(&slots), [1, 8]);
        assert!(!librseq::compare_both_and_store(&slots, [7, 8], 2));
        assert_eq!(both(&slots), [1, 8]);
    });
}

#[test]
fn compares_and_stores_two() {
    on_one_slot(|| {
        let slots = pairs();
        assert!(!librseq::compare_and_store_both(&slots, 8, [1, 2]));
        assert_eq!(both(&slots), [7, 8]);
        assert!(librseq::compare_and_store_both(&slots, 7, [1, 2]));
        assert_eq!(both(&slots), [1, 2]);
        assert!(!librseq::compare_and_store_both(&slots, 7, [3, 4]));
        assert_eq!(both(&slots), [1, 2]);
    });
}

#[test]
fn compares_copies_and_stores() {
    on_one_slot(|| {
        let slots = PerCpu::new();
        let now = || {
            let words = |record: &Record| record.words.each_ref().map(|word| word.load(Relaxed));
            value(&slots, |record: &Record| (record.version.load(Relaxed), words(record)), (0, [0; WORDS]))
        };
        // SAFETY: nobody reads the records while sections change them.
        let copy = |expect, words: &[u64], new| unsafe { librseq::compare_copy_and_store(&slots, expect, words, new) };
        assert!(!copy(1, &[9; WORDS], 2));
        assert_eq!(now(), (0, [0; WORDS]));
        let all: [u64; WORDS] = array::from_fn(|word| 1 + word as u64);
        assert!(copy(0, &all, 1));
        assert_eq!(now(), (1, all));
        assert!(copy(1, &[9, 10], 2));
        assert_eq!(now(), (2, array::from_fn(|word| if word < 2 { 9 + word as u64 } else { all[word] })));
        let before = now();
        assert!(copy(2, &[], 3));
        assert_eq!(now(), (3, before.1));
    });
}

#[test]
fn copies_no_more_than_there_is_room_for() {
    let slots = PerCpu::new();
    // SAFETY: nobody reads the records.
    let copy = || unsafe { librseq::compare_copy_and_store(&slots, 0, &[1; WORDS + 1], 1) };
    catch_unwind(std::panic::AssertUnwindSafe(copy)).expect_err("there is a word too many");
}

#[test]
fn adds_behind_pointers() {
    on_one_slot(|| {
        let counters: Vec<[AtomicUsize; 3]> = (0..rseq::slots()).map(|_| Default::default()).collect();
        let entry = |counter: &AtomicUsize| AtomicPtr::new(ptr::from_ref(counter).cast_mut());
        let tables: Vec<[AtomicPtr<AtomicUsize>; 3]> = counters.iter().map(|all| all.each_ref().map(entry)).collect();
        let slots: PerCpu<Table> = PerCpu::from_fn(|slot| AtomicPtr::new(tables[slot].as_ptr().cast_mut()));
        for (entry, count) in [(0, 1), (2, 30), (2, 3), (1, usize::MAX)] {
            // SAFETY: each slot has a table of three pointers to counters of its own, and all of
            // them are there to the end of the test.
            unsafe { librseq::add_behind(&slots, entry, count) };
        }
        let counts = counters.iter().map(|all| all.each_ref().map(|count| count.load(Relaxed)));
        assert_eq!(counts.filter(|all| *all != [0; 3]).collect::<Vec<_>>(), [[1, usize::MAX, 33]]);
    });
}

/// Different pointers to nothing.
fn items(count: usize) -> Vec<*mut u8> {
    (1..=count).map(ptr::without_provenance_mut).collect()
}

/// The items of the slabs, all in one slot.
fn held(slabs: &PerCpu<Slab>) -> Vec<*mut u8> {
    let mut held: Vec<Vec<*mut u8>> = slabs.iter().map(|slab| slab.items().collect()).collect();
    held.retain(|items| !items.is_empty());
    assert!(held.len() <= 1, "one slot changes");
    held.pop().unwrap_or_default()
}

#[test]
fn pushes_to_slabs_and_pops() {
    on_one_slot(|| {
        let slabs = PerCpu::new();
        assert_eq!(slab::pop(&slabs), None);
        let items = items(CAPACITY);
        for (count, item) in items.iter().enumerate() {
            assert_eq!(held(&slabs), items[..count]);
            assert!(slab::push(&slabs, *item));
        }
        assert!(!slab::push(&slabs, ptr::dangling_mut()));
        assert_eq!(held(&slabs), items);
        for item in items.iter().rev() {
            assert_eq!(slab::pop(&slabs), Some(*item));
        }
        assert_eq!((slab::pop(&slabs), held(&slabs)), (None, Vec::new()));
    });
}

#[test]
fn batches_are_cut_to_what_there_is() {
    on_one_slot(|| {
        let (slabs, items) = (PerCpu::new(), items(CAPACITY + 6));
        let mut batch = [ptr::null_mut(); CAPACITY + 1];
        assert_eq!((slab::pop_batch(&slabs, &mut batch), batch[0]), (0, ptr::null_mut()));
        assert_eq!(slab::push_batch(&slabs, &[]), 0);
        assert_eq!(slab::push_batch(&slabs, &items[..10]), 10);
        assert_eq!(slab::push_batch(&slabs, &items[10..]), CAPACITY - 10);
        assert_eq!(slab::push_batch(&slabs, &items), 0);
        assert_eq!(held(&slabs), items[..CAPACITY]);
        assert_eq!(slab::pop_batch(&slabs, &mut []), 0);
        assert_eq!(slab::pop_batch(&slabs, &mut batch[..5]), 5);
        assert_eq!((&batch[..5], batch[5]), (&items[CAPACITY - 5..CAPACITY], ptr::null_mut()));
        assert_eq!(slab::pop_batch(&slabs, &mut batch), CAPACITY - 5);
        assert_eq!(batch[..CAPACITY - 5], items[..CAPACITY - 5]);
        assert_eq!((slab::pop_batch(&slabs, &mut batch), held(&slabs)), (0, Vec::new()));
    });
}

/// Many calls in an order that nobody thought of, each compared with what a vector does.
#[test]
fn slabs_are_stacks() {
    on_one_slot(|| {
        let (slabs, mut model) = (PerCpu::new(), Vec::new());
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as usize % below
        };
        for turn in 1..5_000 {
            let item = ptr::without_provenance_mut(turn);
            match next(4) {
                0 => {
                    let has_room = model.len() < CAPACITY;
                    assert_eq!(slab::push(&slabs, item), has_room);
                    model.extend(has_room.then_some(item));
                }
                1 => assert_eq!(slab::pop(&slabs), model.pop()),
                2 => {
                    let batch: Vec<*mut u8> = (0..next(CAPACITY + 8)).map(|at| item.wrapping_add(at << 20)).collect();
                    let pushed = slab::push_batch(&slabs, &batch);
                    assert_eq!(pushed, batch.len().min(CAPACITY - model.len()));
                    model.extend(&batch[..pushed]);
                }
                _ => {
                    let mut batch = vec![ptr::null_mut(); next(CAPACITY + 8)];
                    let popped = slab::pop_batch(&slabs, &mut batch);
                    assert_eq!(popped, batch.len().min(model.len()));
                    assert_eq!(batch[..popped], model.split_off(model.len() - popped));
                }
            }
            assert_eq!(held(&slabs), model);
        }
    });
}

lists!(lists: whole);
lists!(lists_for_preemption: unarmed);
lists!(lists_for_signals: unarmed);
lists!(lists_for_moves: unarmed);
slabs!(slabs: whole);
slabs!(slabs_for_signals: unarmed);

const EACH: u64 = 100_000;
/// Little, lest slabs that go on after they lost their way do worse than miscount.
const EACH_OF_A_SLABS_CONTROL: u64 = 2_000;

fn must_be_exact(count: Count, disturbance: Disturbance) {
    println!("mode: {:?}", support::mode());
    support::must_be_exact(count, disturbance, EACH, false);
}

fn control(count: Count, disturbance: Disturbance, each: u64) {
    support::must_lose(count, disturbance, each, restartable());
}

#[test]
fn lists_preempted() {
    must_be_exact(lists::COUNT, Disturbance::Preemption);
}

#[test]
fn lists_preempted_unarmed() {
    control(lists_for_preemption::COUNT, Disturbance::Preemption, EACH);
}

#[test]
fn lists_signalled() {
    must_be_exact(lists::COUNT, Disturbance::Signals);
}

#[test]
fn lists_signalled_unarmed() {
    control(lists_for_signals::COUNT, Disturbance::Signals, EACH);
}

#[test]
fn lists_moved() {
    must_be_exact(lists::COUNT, Disturbance::Migration);
}

#[test]
fn lists_moved_unarmed() {
    control(lists_for_moves::COUNT, Disturbance::Migration, EACH);
}

#[test]
fn slabs_preempted() {
    must_be_exact(slabs::COUNT, Disturbance::Preemption);
}

#[test]
fn slabs_signalled() {
    must_be_exact(slabs::COUNT, Disturbance::Signals);
}

#[test]
fn slabs_signalled_unarmed() {
    control(slabs_for_signals::COUNT, Disturbance::Signals, EACH_OF_A_SLABS_CONTROL);
}

#[test]
fn slabs_moved() {
    must_be_exact(slabs::COUNT, Disturbance::Migration);
}

/// The tests above that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "compares_and_stores",
    "adds",
    "pushes_to_lists_and_pops",
    "compares_two_and_stores",
    "compares_and_stores_two",
    "compares_copies_and_stores",
    "adds_behind_pointers",
    "pushes_to_slabs_and_pops",
    "batches_are_cut_to_what_there_is",
    "slabs_are_stacks",
    "lists_preempted",
    "lists_signalled",
    "lists_moved",
    "slabs_preempted",
    "slabs_signalled",
    "slabs_moved",
];

#[test]
fn right_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}

#[test]
fn right_with_own_registration() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}
