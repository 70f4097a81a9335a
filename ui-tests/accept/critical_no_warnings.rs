#![deny(warnings, unused, nonstandard_style, rust_2018_idioms)]
#![deny(unsafe_op_in_unsafe_fn, unused_results, unused_qualifications, let_underscore_drop)]
#![deny(trivial_casts, trivial_numeric_casts, unused_lifetimes, unreachable_pub, single_use_lifetimes)]
#![deny(variant_size_differences, missing_debug_implementations, meta_variable_misuse, unused_import_braces)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

static HITS: PerCpu<AtomicU64> = PerCpu::new();
static POINTERS: PerCpu<AtomicPtr<AtomicU64>> = PerCpu::new();

/// A value that is bound and never used is loaded all the same, for its type or its order.
fn unused() {
    rseq! {
        critical |cpu| {
            let before = load(&HITS[cpu]);
            let _after = load(&HITS[cpu]);
            let next = 1 + 2;
        }
        commit add(&HITS[cpu], 1)
    }
}

fn never_commits(place: &AtomicU64) -> u64 {
    rseq! {
        critical |_cpu| {
            let seen = load(place);
            if seen == seen { exit return 1 }
        }
        commit add(place, 1)
        => return 2
    }
}

fn diverging(much: bool) -> u64 {
    rseq! {
        prepare |_cpu| { if much { return 3 } return 4 }
        critical { let seen = load(&AtomicU64::new(0)); if seen == 0 { exit 5 } }
        commit store(&AtomicU64::new(0), seen)
        => 6
        abort { return 7 }
    }
}

/// # Safety
/// `place` is valid.
unsafe fn raw(place: *mut u64) -> u64 {
    // SAFETY: the caller's. The pointer is all that is unsafe here.
    unsafe {
        rseq! {
            critical |_cpu| { let old = load(place); let new = old + 1; }
            commit store(place, new)
            => old
        }
    }
}

/// # Safety
/// There is an element of the number that is in `at`.
unsafe fn element(array: *mut AtomicU64, at: &AtomicUsize) {
    // SAFETY: the caller's. The element is all that is unsafe here.
    unsafe { rseq! { critical |_cpu| { let at_element = load(at); } commit add(&array[at_element], 1) } }
}

#[deny(unsafe_code)]
fn safe() -> bool {
    rseq! {
        critical |cpu| {
            let pointer = load(&POINTERS[cpu]);
            if pointer != null { exit false }
        }
        commit store(&POINTERS[cpu], null)
        => true
        abort |n| { assert!(n < 1_000_000) }
    }
}

pub(crate) fn main() {
    unused();
    let place = AtomicU64::new(0);
    assert_eq!((never_commits(&place), place.into_inner()), (1, 0));
    assert_eq!([diverging(true), diverging(false)], [3, 4]);
    let mut place = 1;
    // SAFETY: a place of its own.
    assert_eq!((unsafe { raw(&raw mut place) }, place), (1, 2));
    let mut array = [AtomicU64::new(0), AtomicU64::new(0)];
    // SAFETY: there is a second element.
    unsafe { element(array.as_mut_ptr(), &AtomicUsize::new(1)) };
    assert_eq!(array.map(AtomicU64::into_inner), [0, 1]);
    assert!(safe());
}
