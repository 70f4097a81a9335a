use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare || { let hits = 1; }
        commit store(&HITS[0], hits)
    }
}
