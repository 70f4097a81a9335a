//! The operations that librseq offers as functions, each as one section, and the push that goes
//! with its pop.
//!
//! Each reads its CPU inside the window, so the caller neither names a CPU nor retries.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

use rseq::PerCpu;

// Not `rseq::rseq`: the tests compile this file once more with sections that lose updates.
use super::rseq;

/// Stores `new` if `expect` is there. Says whether it did.
pub fn compare_and_store(v: &PerCpu<AtomicUsize>, expect: usize, new: usize) -> bool {
    rseq! {
        critical |cpu| {
            let found = load(&v[cpu]);
            if found != expect { exit false }
        }
        commit store(&v[cpu], new)
        => true
    }
}

/// Adds to a count.
pub fn add(v: &PerCpu<AtomicUsize>, count: usize) {
    rseq! {
        commit |cpu| add(&v[cpu], count)
    }
}

/// A link of a list.
#[derive(Default)]
pub struct Node {
    /// The next one of its list. While the node is in none, it says nothing.
    pub next: AtomicPtr<Node>,
    /// Whatever the user keeps in a node.
    pub value: AtomicU64,
}

/// Makes a node the first of a list.
///
/// # Safety
/// The node is valid until it has been popped, and in no list.
pub unsafe fn list_push(lists: &PerCpu<AtomicPtr<Node>>, node: NonNull<Node>) {
    let node = node.as_ptr();
    // SAFETY: the caller's node.
    unsafe {
        rseq! {
            critical |cpu| {
                let first = load(&lists[cpu]);
                store(&(*node).next, first);
            }
            commit store_release(&lists[cpu], node)
        }
    }
}

/// Takes the first node of a list, if there is one. It is the caller's from then on, who may free
/// it: a section that read its address before doesn't follow it any more, because reading and
/// following are in one window.
///
/// # Safety
/// The lists hold what [`list_push`] put there.
pub unsafe fn list_pop(lists: &PerCpu<AtomicPtr<Node>>) -> Option<NonNull<Node>> {
    // SAFETY: nodes of a list are valid, and the first one is in it until a section of its CPU pops
    // it.
    unsafe {
        rseq! {
            critical |cpu| {
                let first = load(&lists[cpu]);
                if first == null { exit None }
                let rest = load(&(*first).next);
            }
            commit store(&lists[cpu], rest)
            => NonNull::new(first)
        }
    }
}

/// Two words that belong together.
#[derive(Default)]
pub struct Pair {
    /// The word that decides, and that commits.
    pub first: AtomicUsize,
    /// The other one.
    pub second: AtomicUsize,
}

/// Stores `new` to the first word if both are as expected. Says whether it did.
pub fn compare_both_and_store(v: &PerCpu<Pair>, expect: [usize; 2], new: usize) -> bool {
    let [first, second] = expect;
    rseq! {
        critical |cpu| {
            let found = load(&v[cpu].first);
            if found != first { exit false }
            let found = load(&v[cpu].second);
            if found != second { exit false }
        }
        commit store(&v[cpu].first, new)
        => true
    }
}

/// Stores to both words if the first one is as expected. Says whether it did.
///
/// A reader of the new first word, with acquire order, finds the new second word too. Not the other
/// way round: a section that was interrupted leaves what it stored to the second word, so that one
/// means nothing unless the first one says so.
pub fn compare_and_store_both(v: &PerCpu<Pair>, expect: usize, new: [usize; 2]) -> bool {
    let [first, second] = new;
    rseq! {
        critical |cpu| {
            let found = load(&v[cpu].first);
            if found != expect { exit false }
            store(&v[cpu].second, second);
        }
        commit store_release(&v[cpu].first, first)
        => true
    }
}

/// The most words that a [`Record`] has.
pub const WORDS: usize = 8;

/// A version, and what it is the version of.
#[derive(Default)]
pub struct Record {
    /// Changes with each record.
    pub version: AtomicUsize,
    /// Means something together with the version alone, as the second word of
    /// [`compare_and_store_both`].
    pub words: [AtomicU64; WORDS],
}

/// Copies a record and gives it its version, if the present one is as expected. Says whether it
/// did.
///
/// # Safety
/// Until sections are at rest, nobody reads the words.
///
/// # Panics
/// If there are too many words.
pub unsafe fn compare_copy_and_store(v: &PerCpu<Record>, expect: usize, words: &[u64], new: usize) -> bool {
    assert!(words.len() <= WORDS, "a record has {WORDS} words");
    let (from, bytes) = (words.as_ptr(), size_of_val(words));
    // SAFETY: as many bytes as were just compared with those of a record, which nobody else
    // accesses.
    unsafe {
        rseq! {
            critical |cpu| {
                let found = load(&v[cpu].version);
                if found != expect { exit false }
                copy(from, &raw mut v[cpu].words[0_usize], bytes);
            }
            commit store_release(&v[cpu].version, new)
            => true
        }
    }
}

/// A CPU's pointers to its counters.
pub type Table = AtomicPtr<AtomicPtr<AtomicUsize>>;

/// Adds to the counter that an entry of the CPU's table points to: finds the table, then the entry,
/// then the counter.
///
/// # Safety
/// The tables have more entries than `entry`, which point to counters. All stay valid; no two
/// tables share a counter.
pub unsafe fn add_behind(tables: &PerCpu<Table>, entry: usize, count: usize) {
    // SAFETY: the caller's.
    unsafe {
        rseq! {
            critical |cpu| {
                let table = load(&tables[cpu]);
                let counter = load(&table[entry]);
            }
            commit add(&*counter, count)
        }
    }
}
