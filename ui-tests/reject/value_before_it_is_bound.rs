use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let next = hits + 1;
            let hits = load(&HITS[cpu]);
        }
        commit store(&HITS[cpu], next)
    }
}
