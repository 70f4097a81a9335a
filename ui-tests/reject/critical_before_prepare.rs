use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |_cpu| { let hits = load(slot); }
        prepare |cpu| { let slot = &HITS[cpu]; }
        commit store(slot, 1)
    }
}
