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
            prepare |cpu| {
                let slot = &HITS[cpu];
                let next = slot.load(Relaxed) + 1;
            }
            commit store(slot, next)
            abort |n| {
                highest = highest.max(n);
                counted += 1;
                // Nothing is armed: printing, allocating and other sections are fine.
                drop(format!("{n}"));
                rseq::portable::inject_aborts(0);
                rseq! { commit |_cpu| store(&AtomicU64::new(0), 1) }
                rseq::portable::inject_aborts(2);
            }
        }
    }
    assert!(counted > 0 && highest > 0);
    assert_eq!(hits(), 10);

    rseq::portable::inject_aborts(1);
    let mut aborts = 0_u32;
    let given_up = 'outer: {
        rseq! {
            commit |cpu| store(&HITS[cpu], 99)
            => false
            abort |n| {
                aborts += 1;
                assert_eq!(n, aborts);
                if n == 5 {
                    break 'outer true;
                }
            }
        }
    };
    assert!(given_up);
    let mut uncounted = 0;
    let given_up = 'outer: loop {
        rseq! {
            commit |cpu| store(&HITS[cpu], 99)
            abort {
                uncounted += 1;
                if uncounted == 5 {
                    break 'outer true;
                }
            }
        }
        break false;
    };
    assert!(given_up);
    // Left early, the sections committed nothing.
    assert_eq!(hits(), 10);
}
