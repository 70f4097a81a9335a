use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        commit |_cpu| store(slot, 1)
        prepare |cpu| { let slot = &HITS[cpu]; }
    }
}
