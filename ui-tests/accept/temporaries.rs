#![deny(warnings)]

use rseq::{CpuId, PerCpu, rseq};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

static SINK: AtomicU64 = AtomicU64::new(0);

/// Says when it is dropped.
struct Temporary<'a, T>(T, &'a Cell<u32>);

impl<T> Drop for Temporary<'_, T> {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
    }
}

/// Memory that was freed has soon something else in it.
fn boxed(value: u64) -> Box<AtomicU64> {
    Box::new(AtomicU64::new(value))
}

fn places() {
    for expected in 0..100 {
        let loaded = rseq! {
            critical |_cpu| { let x = load(&*boxed(expected)); }
            commit store(&SINK, 0)
            => x
        };
        assert_eq!(loaded, expected);
        let loaded = rseq! {
            prepare |_cpu| { let half = expected / 2; }
            critical {
                store(&*boxed(half), 0x4141);
                let x = load(&*boxed(expected));
            }
            commit store(&*boxed(0), 0x4141)
            => x
        };
        assert_eq!(loaded, expected);
    }
}

fn elements_and_slots() {
    let dropped = Cell::new(0);
    let number = AtomicUsize::new(2);
    // SAFETY: the array has three elements.
    let element = unsafe {
        rseq! {
            critical |_cpu| {
                let at = load(&number);
                let x = load(&(*boxed_words())[at]);
            }
            commit store(&SINK, 0)
            => x
        }
    };
    assert_eq!(element, 3);
    let slot = rseq! {
        critical |cpu| {
            let x = load(
                &Temporary(PerCpu::<AtomicU64>::from_fn(|_| AtomicU64::new(9)), &dropped).0[cpu]
            );
        }
        commit add(&SINK, x)
        => (x, dropped.get())
    };
    assert_eq!((slot.0, dropped.get()), (9, 1));
}

fn boxed_words() -> Box<[AtomicU64]> {
    (1..=3).map(AtomicU64::new).collect()
}

fn bytes() -> Vec<u8> {
    vec![1, 2, 3, 4]
}

fn copies() {
    let mut to = [0_u8; 4];
    let at = &raw mut to;
    // SAFETY: four bytes each.
    unsafe {
        rseq! {
            critical |_cpu| { copy(bytes().as_ptr(), at.cast::<u8>(), 4_usize); }
            commit store(&SINK, 1)
        }
    }
    assert_eq!(to, [1, 2, 3, 4]);
}

/// An operand's temporary lives as long.
fn operands() {
    let dropped = Cell::new(0);
    let in_place = AtomicU64::new(0);
    rseq! { commit |_cpu| store(&in_place, Temporary(5, &dropped).0) }
    assert_eq!((in_place.load(Relaxed), dropped.get()), (5, 1));
    let most = 3;
    let found = rseq! {
        critical |_cpu| {
            let x = load(&in_place);
            if x > Temporary(most, &dropped).0 { exit x }
        }
        commit store(&in_place, 0)
        => 0
    };
    assert_eq!((found, dropped.get()), (5, 2));
}

/// Once for each attempt, also where the section is left by what is evaluated for it.
fn each_attempt() {
    let dropped = Cell::new(0);
    let place = AtomicBool::new(false);
    let mut attempts = 0;
    let mut attempt = || {
        attempts += 1;
        true
    };
    rseq! { commit |_cpu| store(Temporary(&place, &dropped).0, attempt()) abort { } }
    assert_eq!(dropped.get(), attempts);
    let left = 'outer: {
        rseq! {
            commit |_cpu| store(
                Temporary(&place, &dropped).0,
                if dropped.get() > 0 { break 'outer true } else { false }
            )
        }
        false
    };
    assert_eq!((left, dropped.get()), (true, attempts + 1));
}

pub(crate) fn main() {
    places();
    elements_and_slots();
    copies();
    operands();
    each_attempt();
    assert!(CpuId::new(0).is_some());
}
