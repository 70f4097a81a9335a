use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

macro_rules! check {
    ($check:expr) => {
        $check
    };
}

fn main() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            check!(if slot.load(Relaxed) > 9 { break });
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}
