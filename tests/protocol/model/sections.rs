//! Sections of every kind, which `section!` of the module around this one compiles: as they are, or
//! each with a mutation.
#![allow(dead_code, unused_unsafe, unused_variables, reason = "not every mutant is tried with every section")]

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rseq::{MmCid, PerCpu};
use rseq_explore::model::{Done, Model};

/// How many items a stack holds.
const CAPACITY: usize = 8;

/// A bounded stack.
#[derive(Default)]
pub struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; CAPACITY],
}

/// The sections' memory.
pub struct State {
    slots: Rc<Slots>,
    pushed: Cell<u64>,
    scratch: RefCell<[u8; 4]>,
    /// No section that sees this adds anything.
    stop: Cell<bool>,
    /// The count when that was so.
    stopped_at: Cell<Option<u64>>,
}

/// Slots, which are the same for all runs: to make them is slow.
#[derive(Default)]
pub struct Slots {
    hits: PerCpu<AtomicU64>,
    by_cid: PerCpu<AtomicU64, MmCid>,
    stacks: PerCpu<Stack>,
}

impl Slots {
    fn reset(&self) {
        self.hits.iter().chain(&self.by_cid).for_each(|slot| slot.store(0, Relaxed));
        for stack in &self.stacks {
            stack.len.store(0, Relaxed);
            stack.items.iter().for_each(|item| item.store(0, Relaxed));
        }
    }
}

impl State {
    fn of(slots: &Rc<Slots>) -> Self {
        slots.reset();
        Self {
            slots: slots.clone(),
            pushed: Cell::new(0),
            scratch: RefCell::new([0; 4]),
            stop: Cell::new(false),
            stopped_at: Cell::new(None),
        }
    }

    fn sum(&self) -> u64 {
        self.slots.hits.iter().chain(&self.slots.by_cid).map(|slot| slot.load(Relaxed)).sum()
    }
}

/// Reads and computes in `prepare`.
fn prepared(state: &State) {
    section! {
        prepare |cpu| {
            let slot = &state.slots.hits[cpu];
            let count = slot.load(Relaxed);
        }
        commit store(slot, count + 1)
    }
}

/// The same, and the `abort` clause counts.
fn counting_aborts(state: &State) {
    let mut aborts = 0;
    section! {
        prepare |cpu| {
            let slot = &state.slots.hits[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store_release(slot, next)
        abort |n| {
            aborts += 1;
            assert_eq!(n, aborts);
        }
    }
}

/// Adds, and then leaves another section early.
fn left_early(state: &State) {
    prepared(state);
    let leave = || {
        section! {
            prepare |cpu| {
                let slot = &state.slots.hits[cpu];
                if slot.load(Relaxed) < 1000 {
                    return;
                }
            }
            commit store(slot, 0)
        }
    };
    leave();
}

/// Adds, and then panics out of another section.
fn left_by_a_panic(state: &State) {
    prepared(state);
    let panic = std::panic::AssertUnwindSafe(|| {
        section! {
            prepare |cpu| {
                let slot = &state.slots.hits[cpu];
                if slot.load(Relaxed) < 1000 {
                    resume_unwind(Box::new(()));
                }
            }
            commit store(slot, 0)
        }
    });
    assert!(catch_unwind(panic).is_err());
}

/// All in the window, which is a single instruction.
fn updated_in_place(state: &State) {
    section! { commit |cpu| add(&state.slots.hits[cpu], 1) }
}

/// All in the window: reads, computes, stores.
fn window(state: &State) {
    section! {
        critical |cpu| {
            let count = load(&state.slots.hits[cpu]);
            let next = count + 1;
        }
        commit store(&state.slots.hits[cpu], next)
    }
}

/// The same with an `abort` clause, a copy and a result.
fn window_that_copies(state: &State) {
    let (from, to) = ([1_u8; 4], state.scratch.borrow_mut().as_mut_ptr());
    let from = from.as_ptr();
    let mut aborts = 0;
    // SAFETY: both arrays have four bytes, and what is in them means nothing.
    let count = unsafe {
        section! {
            critical |cpu| {
                let count = load(&state.slots.hits[cpu]);
                copy(from, to, 4);
                let next = count + 1;
            }
            commit store(&state.slots.hits[cpu], next)
            => count
            abort { aborts += 1; }
        }
    };
    assert!(count < 100 && aborts < 100);
}

/// `prepare` finds the slot, the window does the rest.
fn watched_window(state: &State) {
    section! {
        prepare |cpu| { let slot = &state.slots.hits[cpu]; }
        critical {
            let count = load(slot);
            let next = count + 1;
        }
        commit store(slot, next)
    }
}

/// Adds, and then leaves two other sections by an exit.
fn left_by_exits(state: &State) {
    prepared(state);
    let left = section! {
        critical |cpu| {
            let count = load(&state.slots.hits[cpu]);
            if count < 1000 { exit true }
        }
        commit store(&state.slots.hits[cpu], 0)
        => false
    };
    assert!(left);
    section! {
        prepare |cpu| { let slot = &state.slots.hits[cpu]; }
        critical {
            let count = load(slot);
            if count < 1000 { exit () }
        }
        commit store(slot, 0)
    }
}

/// By concurrency ids, all in the window.
fn cid_window(state: &State) {
    section! {
        critical |cid: MmCid| {
            let count = load(&state.slots.by_cid[cid]);
            let next = count + 1;
        }
        commit store(&state.slots.by_cid[cid], next)
    }
}

/// By concurrency ids, with a `prepare`.
fn cid_prepared(state: &State) {
    section! {
        prepare |cid: MmCid| {
            let slot = &state.slots.by_cid[cid];
            let count = slot.load(Relaxed);
        }
        commit store(slot, count + 1)
    }
}

/// Pushes onto a stack: stores the item, then publishes it by the length.
fn push(state: &State) {
    let item = state.pushed.get() + 1;
    state.pushed.set(item);
    // SAFETY: the length is compared with the capacity.
    let pushed = unsafe {
        section! {
            critical |cpu| {
                let len = load(&state.slots.stacks[cpu].len);
                if len == 8 { exit false }
                store(&state.slots.stacks[cpu].items[len], item);
            }
            commit add(&state.slots.stacks[cpu].len, 1)
            => true
        }
    };
    assert!(pushed);
}

/// The same with a `prepare`.
fn watched_push(state: &State) {
    let item = state.pushed.get() + 1;
    state.pushed.set(item);
    // SAFETY: the length is compared with the capacity.
    let pushed = unsafe {
        section! {
            prepare |cpu| { let stack = &state.slots.stacks[cpu]; }
            critical {
                let len = load(&stack.len);
                if len == 8 { exit false }
                store(&stack.items[len], item);
            }
            commit add(&stack.len, 1)
            => true
        }
    };
    assert!(pushed);
}

/// Adds unless it must stop.
fn drained(state: &State) {
    section! {
        prepare |cpu| {
            let slot = &state.slots.hits[cpu];
            let count = slot.load(Relaxed);
            if state.stop.get() {
                return;
            }
        }
        commit store(slot, count + 1)
    }
}

/// Has the others stop.
fn drain(state: &State) {
    state.stop.set(true);
    rseq_explore::model::fence();
    state.stopped_at.set(Some(state.sum()));
}

/// Each adds one.
fn counts(state: &State, done: Done) {
    assert_eq!(state.sum(), done.all() as u64, "what was counted, and how often");
}

/// Each pushes an item of its own.
fn holds_all(state: &State, done: Done) {
    let items = |stack: &Stack| {
        let len = stack.len.load(Relaxed).min(CAPACITY);
        stack.items[..len].iter().map(|item| item.load(Relaxed)).collect::<Vec<_>>()
    };
    let mut items: Vec<u64> = state.slots.stacks.iter().flat_map(items).collect();
    items.sort_unstable();
    assert_eq!(items, (1..=done.all() as u64).collect::<Vec<_>>(), "what was pushed");
}

/// Once stopped, nothing is added.
fn stopped(state: &State, _: Done) {
    assert_eq!(state.stopped_at.get(), Some(state.sum()), "nothing is added once the others have stopped");
}

/// A section, and what must hold after it ran so often.
type Kind = (&'static str, fn(&State), fn(&State, Done));

const KINDS: &[Kind] = &[
    ("prepared", prepared, counts),
    ("counting_aborts", counting_aborts, counts),
    ("left_early", left_early, counts),
    ("left_by_a_panic", left_by_a_panic, counts),
    ("updated_in_place", updated_in_place, counts),
    ("window", window, counts),
    ("window_that_copies", window_that_copies, counts),
    ("watched_window", watched_window, counts),
    ("left_by_exits", left_by_exits, counts),
    ("cid_window", cid_window, counts),
    ("cid_prepared", cid_prepared, counts),
    ("push", push, holds_all),
    ("watched_push", watched_push, holds_all),
];

/// A model without threads.
fn empty() -> Model<State> {
    let slots = Rc::<Slots>::default();
    Model::new(move || State::of(&slots))
}

/// Models of all sections: two threads that share a CPU or have one each, and handlers that do the
/// same.
pub fn models() -> impl Iterator<Item = (String, Model<State>)> {
    let pairs = KINDS.iter().flat_map(|(name, section, check)| {
        [("one CPU", 0), ("two CPUs", 1)].map(|(cpus, other)| {
            let model = empty().thread(0, section).thread(other, section);
            (format!("{name}, {cpus}"), model.handler(section).check(check))
        })
    });
    pairs.chain([("drained".to_owned(), empty().thread(0, drained).thread(1, drain).check(stopped))])
}

/// Short sections, for one event more: the shortest ones with a third thread, the others without
/// handlers.
pub fn short() -> impl Iterator<Item = (&'static str, Model<State>)> {
    let short = [(prepared as fn(&State), "prepared"), (watched_window, "watched_window")];
    let pairs = short.map(|(section, name)| (name, empty().thread(0, section).thread(0, section).check(counts)));
    let shortest = [(updated_in_place as fn(&State), "updated_in_place"), (window, "window")];
    let crowds = shortest
        .map(|(section, name)| (name, empty().thread(0, section).thread(0, section).thread(1, section).check(counts)));
    pairs.into_iter().chain(crowds)
}

/// A section whose slots are made by whoever comes first.
pub fn first_use() -> Model<PerCpu<AtomicU64>> {
    let hit = |hits: &PerCpu<AtomicU64>| {
        section! { commit |cpu| add(&hits[cpu], 1) }
    };
    let check = |hits: &PerCpu<AtomicU64>, done: Done| {
        let sum = hits.iter().map(|slot| slot.load(Relaxed)).sum::<u64>();
        assert_eq!(sum, done.all() as u64);
    };
    Model::new(PerCpu::new).thread(0, hit).thread(1, hit).handler(hit).check(check)
}

/// A `prepare` that does what it must not: it runs a section.
pub fn nested() -> Model<State> {
    let outer = |state: &State| {
        section! {
            prepare |cpu| {
                updated_in_place(state);
                let slot = &state.slots.hits[cpu];
                let count = slot.load(Relaxed);
            }
            commit store(slot, count + 1)
        }
    };
    empty().thread(0, outer)
}
