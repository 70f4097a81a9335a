use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

use std::panic::{AssertUnwindSafe, catch_unwind};

fn hit(panics: bool) {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
            assert!(!panics, "as asked, on {cpu}");
        }
        commit store(slot, next)
    }
}

pub(crate) fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    for n in 0..100 {
        let panics = n % 2 == 0;
        assert_eq!(catch_unwind(AssertUnwindSafe(|| hit(panics))).is_err(), panics);
    }
    assert_eq!(hits(), 50);
}
