#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// In portable mode, where aborts can be ordered.
pub(crate) fn main() {
    rseq::portable::force().expect("no section ran before");
    rseq::portable::inject_aborts(2);

    let (mut counted, mut highest) = (0, 0);
    for _ in 0..10 {
        rseq! {
            commit |cpu| add(&HITS[cpu], 1)
            abort |n| {
                highest = highest.max(n);
                counted += 1;
                // Nothing is armed: printing, allocating and other sections are fine.
                drop(format!("{n}"));
            }
        }
        rseq! {
            critical |cpu| {
                let hits = load(&HITS[cpu]);
                if hits == 0 { exit }
                let next = hits + 1;
            }
            commit store(&HITS[cpu], next)
            abort { counted += 1; }
        }
        // Without the clause they start again by themselves.
        rseq! { commit |cpu| add(&HITS[cpu], 1) }
    }
    assert!(counted > 0 && highest > 0);
    // Each second section may have found another slot empty.
    assert!((20..=30).contains(&hits()));

    let before = hits();
    rseq::portable::inject_aborts(1);
    let given_up = 'outer: {
        rseq! {
            critical |cpu| {
                let hits = load(&HITS[cpu]);
                if hits == u64::MAX { exit false }
            }
            commit add(&HITS[cpu], hits)
            => false
            abort |n| {
                if n == 5 {
                    break 'outer true;
                }
            }
        }
    };
    assert!(given_up);
    assert_eq!(hits(), before);
}
