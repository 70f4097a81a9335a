use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            drop(__rseq_section);
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}
