#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU32, AtomicU64};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

/// Exits see what is bound before them, and commit nothing.
fn values(number: u32) -> (u32, Result<u32, String>) {
    let place = AtomicU32::new(number);
    let left = rseq! {
        critical |_cpu| {
            let old = load(&place);
            if old == 0 { exit Err("none".to_owned()) }
            let twice = old + old;
            if twice >= 20 { exit Err(format!("{}, {}", old, twice)) }
            let thrice = twice + old;
            if 9 == thrice { exit { let sum = old + twice + thrice; Ok(sum) } };
        }
        commit store(&place, thrice)
        => Ok(thrice)
    };
    (place.into_inner(), left)
}

/// Ways out of more than the section.
fn ways(number: u64) -> Option<u64> {
    let place = AtomicU64::new(number);
    let mut rounds = 0;
    'outer: loop {
        rounds += 1;
        let seen: u64 = rseq! {
            critical |_cpu| {
                let seen = load(&place);
                if seen == 1 { exit return Some(10) }
                if seen == 2 { exit break 'outer }
                if seen == 3 { exit { if rounds < 3 { continue 'outer } else { return Some(rounds) } } }
                if seen == 4 { exit None? }
                if seen == 5 { exit seen }
            }
            commit add(&place, 1)
            => return Some(seen + 100)
        };
        return Some(seen + 1_000);
    }
    Some(20)
}

/// Without values.
fn nothing() {
    let place = AtomicU64::new(7);
    rseq! {
        critical |_cpu| {
            let seen = load(&place);
            if seen == 7 { exit }
        }
        commit store(&place, 1)
    }
    rseq! {
        critical |_cpu| {
            let seen = load(&place);
            if seen == 7 { exit; }
        }
        commit store(&place, 2)
        => ()
    }
    let () = rseq! {
        critical |_cpu| {
            let seen = load(&place);
            if seen == 7 { exit () };
        }
        commit store(&place, 3)
    };
    assert_eq!(place.into_inner(), 7);
}

/// The index in an exit and after the commit.
fn index() {
    let at = rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            if hits == 0 { exit Err(cpu) }
        }
        commit add(&HITS[cpu], 1)
        => Ok(cpu.get())
    };
    assert!(at.unwrap_err().get() < rseq::slots());
    let at = rseq! { commit |cpu| store(&HITS[cpu], 2) => cpu };
    assert!(at.get() < rseq::slots());
}

/// The most that are told apart.
fn thirty(number: u8) -> u32 {
    let place = AtomicU64::new(number.into());
    rseq! {
        critical |_cpu| {
            let n = load(&place);
            if n == 0 { exit 100 }
            if n == 1 { exit 101 }
            if n == 2 { exit 102 }
            if n == 3 { exit 103 }
            if n == 4 { exit 104 }
            if n == 5 { exit 105 }
            if n == 6 { exit 106 }
            if n == 7 { exit 107 }
            if n == 8 { exit 108 }
            if n == 9 { exit 109 }
            if n == 10 { exit 110 }
            if n == 11 { exit 111 }
            if n == 12 { exit 112 }
            if n == 13 { exit 113 }
            if n == 14 { exit 114 }
            if n == 15 { exit 115 }
            if n == 16 { exit 116 }
            if n == 17 { exit 117 }
            if n == 18 { exit 118 }
            if n == 19 { exit 119 }
            if n == 20 { exit 120 }
            if n == 21 { exit 121 }
            if n == 22 { exit 122 }
            if n == 23 { exit 123 }
            if n == 24 { exit 124 }
            if n == 25 { exit 125 }
            if n == 26 { exit 126 }
            if n == 27 { exit 127 }
            if n == 28 { exit 128 }
            if n == 29 { exit 129 }
        }
        commit add(&place, 1)
        => 130
    }
}

pub(crate) fn main() {
    assert_eq!(values(0), (0, Err("none".to_owned())));
    assert_eq!(values(10), (10, Err("10, 20".to_owned())));
    assert_eq!(values(3), (3, Ok(18)));
    assert_eq!(values(2), (6, Ok(6)));
    assert_eq!([0, 1, 2, 3, 4, 5].map(ways), [Some(100), Some(10), Some(20), Some(3), None, Some(1_005)]);
    nothing();
    index();
    assert!((0..31).map(thirty).eq(100..131));
}
