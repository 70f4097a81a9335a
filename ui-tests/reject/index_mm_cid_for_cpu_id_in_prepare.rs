use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |cid: MmCid| { let slot = &HITS[cid]; }
        commit store(slot, 1)
    }
}
