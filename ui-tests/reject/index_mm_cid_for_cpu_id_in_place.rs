use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |cid: MmCid| { let one = 1; }
        commit store(&HITS[cid], one)
    }
}
