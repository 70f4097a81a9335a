use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

fn hit(most: u64) -> &'static str {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
            if next > most {
                return "full";
            }
        }
        commit store(if most == 9 { return "nine" } else { slot }, next)
        => return "hit"
        abort |n| {
            if n > 1_000_000 {
                return "busy";
            }
        }
    }
}

pub(crate) fn main() {
    assert_eq!(hit(9), "nine");
    assert_eq!(hit(1), "hit");
    assert_eq!(hit(0), "full");
    assert_eq!(hits(), 1);
}
