use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        commit |cpu| store(&HITS[cpu], __rseq_target.bits() as u64)
    }
}
