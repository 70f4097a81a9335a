use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

pub(crate) fn main() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let mut next = slot.load(Relaxed);
            loop {
                next += 1;
                if next.is_multiple_of(2) {
                    continue;
                }
                break;
            }
            for step in 0..10 {
                if step == 3 {
                    break;
                }
                next += 1;
            }
            while next < 100 {
                next += 1;
                if next == 50 {
                    break;
                }
            }
            while let Some(less) = next.checked_sub(7) {
                next = less;
            }
            let mut end = 40;
            let end = loop {
                end += 1;
                if end == 42 {
                    break end;
                }
            };
        }
        commit store(slot, next + end)
        abort {
            for n in 0..3 {
                if n == 1 {
                    continue;
                }
                std::hint::spin_loop();
            }
        }
    }
    assert_eq!(hits(), 43);
}
