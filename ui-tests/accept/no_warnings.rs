#![deny(warnings, unused, nonstandard_style, rust_2018_idioms)]
#![deny(unsafe_op_in_unsafe_fn, unused_results, unused_qualifications, let_underscore_drop)]
#![deny(trivial_casts, trivial_numeric_casts, unused_lifetimes, unreachable_pub, single_use_lifetimes)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

fn every_clause() -> usize {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
        => { cpu.get() }
        abort |n| { assert!(n < 1_000_000) }
    }
}

fn only_a_commit() {
    rseq! { commit |cpu| store(&HITS[cpu], 1) }
}

/// Clauses that never fall off their end.
fn diverging(much: bool) -> u64 {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            if much {
                return 1;
            }
        }
        commit store(slot, 0)
        => return 2
        abort { return 3 }
    }
}

fn never_commits() -> u64 {
    rseq! {
        prepare |_cpu| { return 4 }
        commit store(&AtomicU64::new(0), 0)
        => 5
    }
}

fn panics() {
    rseq! {
        prepare |_| { panic!("as asked") }
        commit store(&AtomicU64::new(0), 0)
    }
}

/// # Safety
/// `place` is valid.
unsafe fn raw(place: *mut u64) {
    // SAFETY: the caller's.
    unsafe {
        rseq! {
            prepare |_cpu| { let next = place.read() + 1; }
            commit store(place, next)
            abort |_| {}
        }
    }
    // SAFETY: the caller's. The pointer is all that is unsafe here.
    unsafe { rseq! { commit |_cpu| store(place, 7) } }
    // SAFETY: the caller's. Without the pointer, reading it would need the block all the same.
    unsafe { rseq! { commit |cpu| store(&HITS[cpu], *place) } }
}

struct Step {
    by: u64,
}

/// Operands with braces in them.
fn braces(is_large: bool) -> u64 {
    let place = AtomicU64::new(0);
    rseq! { commit |_cpu| add(&place, Step { by: 1 }.by) }
    rseq! { commit |_cpu| add(&place, 2 * Step { by: 5 }.by) }
    rseq! { commit |_cpu| add(&place, if is_large { 100 } else { 200 }) }
    place.into_inner()
}

pub(crate) fn main() {
    assert_eq!(braces(true), 111);
    assert!(every_clause() < rseq::slots());
    only_a_commit();
    assert!(diverging(true) == 1 && diverging(false) > 1);
    assert_eq!(never_commits(), 4);
    std::panic::set_hook(Box::new(|_| {}));
    assert!(std::panic::catch_unwind(panics).is_err());
    let mut place = 1;
    // SAFETY: a place of its own.
    unsafe { raw(&raw mut place) };
    assert_eq!(place, 7);
    assert!(hits() >= 7);
}
