use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

pub(crate) fn main() {
    let found = 'outer: loop {
        rseq! {
            prepare |cpu| {
                let slot = &HITS[cpu];
                if hits() == 3 {
                    break 'outer "three";
                }
                let next = slot.load(Relaxed) + 1;
            }
            commit store(slot, next)
            => continue 'outer
        }
    };
    assert_eq!(found, "three");
    let found = 'block: {
        rseq! {
            commit |cpu| store(&HITS[cpu], break 'block 4)
            => 5
        }
    };
    assert_eq!((found, hits()), (4, 3));
}
