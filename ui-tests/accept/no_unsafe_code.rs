#![deny(unsafe_code)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

pub(crate) fn main() {
    let _: u64 = rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
        => next
        abort |n| { assert!(n < 1_000_000) }
    };
    rseq! { commit |cpu| store_release(&HITS[cpu], 2) }
    assert!(hits() == 2 || hits() == 3);
}
