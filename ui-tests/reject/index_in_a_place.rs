use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn slot_of(cpu: rseq::CpuId) -> &'static AtomicU64 {
    &HITS[cpu]
}

fn main() {
    rseq! {
        commit |cpu| store(slot_of(cpu), 1)
    }
}
