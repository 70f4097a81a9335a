use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            let next = hits + __rseq_outside_0;
        }
        commit store(&HITS[cpu], next)
    }
}
