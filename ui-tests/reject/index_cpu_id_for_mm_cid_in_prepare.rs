use rseq::{MmCid, PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64, MmCid> = PerCpu::new();

fn main() {
    rseq! {
        prepare |cpu| { let slot = &HITS[cpu]; }
        commit store(slot, 1)
    }
}
