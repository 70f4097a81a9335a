//! The sections of the stacks, interrupted at each of their instructions: nothing is lost, and
//! nothing is there twice.
#![cfg(target_os = "linux")]
#![allow(clippy::duplicate_mod, reason = "once as they are, and once unarmed")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rseq_explore::{Explorer, Ran};
use support::explored::Explored;

#[allow(dead_code, reason = "not all of it is used")]
#[path = "../../src"]
mod whole {
    use super::keeps;
    use rseq::{drain, rseq};

    pub mod stack;
}

/// The same by windows that aren't armed.
#[allow(dead_code, reason = "not all of it is used")]
#[path = "../../src"]
mod unarmed {
    macro_rules! section {
        ($($tokens:tt)*) => {
            ::rseq::__mutant! { [no_arm] $($tokens)* }
        };
    }
    use super::keeps;
    use ::rseq::drain;
    use section as rseq;

    pub mod stack;
}

fn keeps() -> bool {
    true
}

/// The objects of an operation, by their numbers.
#[derive(Debug, Default)]
struct Done {
    put: Vec<usize>,
    took: Vec<usize>,
}

/// Objects are numbers, because stacks don't look behind their pointers.
fn object(number: usize) -> *mut u8 {
    ptr::without_provenance_mut(number + 1)
}

fn number(object: *mut u8) -> usize {
    object.addr() - 1
}

/// Not handed out before, in this process and in each child of it.
fn next() -> usize {
    static NUMBERS: AtomicUsize = AtomicUsize::new(0);
    NUMBERS.fetch_add(1, Relaxed)
}

/// A backend that writes down what it is given.
#[derive(Default)]
struct Found(RefCell<Vec<usize>>);

// SAFETY: has no memory.
unsafe impl GlobalAlloc for Found {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }
    unsafe fn dealloc(&self, object: *mut u8, _: Layout) {
        self.0.borrow_mut().push(number(object));
    }
}

/// The operations of stacks of their own.
macro_rules! operations {
    ($name:ident: $sections:ident) => {
        #[allow(dead_code, reason = "not all of it is used")]
        mod $name {
            use super::$sections::stack::{self, CAPACITY, Stacks, Then};
            use super::{Done, Found, next, number, object};
            use std::alloc::Layout;

            static STACKS: Stacks = Stacks::new();

            pub fn push() -> Done {
                let number = next();
                assert!(STACKS.make(CAPACITY), "there is memory");
                assert!(stack::push(&STACKS, object(number)), "there is room");
                Done { put: vec![number], ..Done::default() }
            }
            pub fn pop() -> Done {
                let popped = stack::pop(&STACKS);
                Done { took: (!popped.is_null()).then(|| number(popped)).into_iter().collect(), ..Done::default() }
            }
            pub fn push_two() -> Done {
                let put = vec![next(), next()];
                assert!(stack::push_batch(&STACKS, &[object(put[0]), object(put[1])]), "there is room");
                Done { put, ..Done::default() }
            }
            pub fn pop_batch() -> Done {
                let batch = stack::pop_batch(&STACKS);
                Done { took: batch.into_iter().flatten().map(number).collect(), ..Done::default() }
            }
            /// Pushes where there may be no room.
            pub fn try_push() -> Done {
                let number = next();
                let put = stack::push(&STACKS, object(number));
                Done { put: put.then_some(number).into_iter().collect(), ..Done::default() }
            }
            /// Everything that was there is given away, and nothing is kept from then on.
            pub fn push_and_close() {
                push();
                let found = Found::default();
                // SAFETY: the backend does nothing with the objects.
                let stacks = unsafe { STACKS.drain(&found, Layout::new::<u8>(), Then::Close) };
                stacks.for_each(|stack| _ = stack.expect("nobody else drains it"));
            }
            pub fn open() -> Done {
                stack::open(&STACKS);
                Done::default()
            }
            pub fn found() -> Vec<usize> {
                let found = Found::default();
                // SAFETY: the backend does nothing with the objects.
                unsafe { STACKS.free_all(&found, Layout::new::<u8>()) };
                found.0.into_inner()
            }
        }
    };
}

operations!(stacks: whole);
operations!(others: unarmed);

/// Each object that was given or put is there once, unless somebody took it.
fn check(given: usize, found: Vec<usize>, ran: &Ran<'_, Done, Done>) {
    let done = || ran.sections.iter().chain(&ran.conflicts).map(|run| run.value);
    let mut expected: BTreeSet<usize> = (0..given).chain(done().flat_map(|done| done.put.clone())).collect();
    done()
        .flat_map(|done| &done.took)
        .for_each(|number| assert!(expected.remove(number), "{number} was there to be taken"));
    let mut found = found;
    found.sort_unstable();
    assert!(found.iter().eq(&expected), "there are {found:?}, and should be {expected:?}");
}

/// Gives a slot some objects, and counts them.
fn give(count: usize, given: &AtomicUsize, push: fn() -> Done) {
    for _ in 0..count {
        given.fetch_add(push().put.len(), Relaxed);
    }
}

/// Explores an operation on stacks of so many objects.
fn explore(name: &str, count: usize, section: fn() -> Done, conflict: fn() -> Done) {
    let given = AtomicUsize::new(0);
    let check = |ran: &Ran<'_, Done, Done>| check(given.load(Relaxed), stacks::found(), ran);
    let explored = Explored { name, section: &section, conflict: &conflict, check: &check };
    explored.must_be_exact_after(&|| give(count, &given, stacks::push));
}

#[test]
fn stacks_are_exact() {
    support::alone!("stacks_are_exact");
    explore("pop", 4, stacks::pop, stacks::push);
    explore("push", 4, stacks::push, stacks::pop);
    explore("pop_batch", 102, stacks::pop_batch, stacks::push_two);
    explore("push_batch", 34, stacks::push_two, stacks::pop_batch);
    let check = |ran: &Ran<'_, Done, Done>| check(0, stacks::found(), ran);
    let explored = Explored { name: "open", section: &stacks::open, conflict: &stacks::try_push, check: &check };
    explored.must_be_exact_after(&stacks::push_and_close);
}

#[test]
fn unarmed_stacks_are_not() {
    support::alone!("unarmed_stacks_are_not");
    let given = AtomicUsize::new(0);
    let check = |ran: &Ran<'_, Done, Done>| check(given.load(Relaxed), others::found(), ran);
    let explorer = Explorer::new(&others::pop, &others::push, &check).name("unarmed pop");
    let report = explorer.setup(&|| give(4, &given, others::push)).try_run();
    println!("{report}");
    assert!(report.skipped().is_some() || !report.failures().is_empty(), "the control didn't fail: {report:#}");
}
