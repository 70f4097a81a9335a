use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hit(hits: u64) {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = hits + 1;
        }
        critical {
            let hits = load(slot);
        }
        commit store(slot, next)
    }
}

fn main() {
    hit(1);
}
