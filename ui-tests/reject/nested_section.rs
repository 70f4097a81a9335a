use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            rseq! { commit |cpu| store(&HITS[cpu], 1) }
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}
