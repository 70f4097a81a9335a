use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |_cpu| { let hits = 1; }
        commit |cpu| store(&HITS[cpu], hits)
    }
}
