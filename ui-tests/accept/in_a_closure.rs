use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

pub(crate) fn main() {
    let mut aborts = 0;
    let mut hit = |step: u64| {
        rseq! {
            prepare |cpu| {
                let slot = &HITS[cpu];
                let next = slot.load(Relaxed) + step;
            }
            commit store(slot, next)
            => step * 2
            abort { aborts += 1 }
        }
    };
    assert_eq!(hit(1) + hit(2), 6);
    let _: u32 = aborts;
    std::thread::scope(|scope| {
        for step in 1..=4 {
            scope.spawn(move || {
                (0..100).for_each(|_| rseq! {
                    prepare |cpu| { let slot = &HITS[cpu]; let next = slot.load(Relaxed) + step; }
                    commit store(slot, next)
                });
            });
        }
    });
    assert_eq!(hits(), 1003);
}
