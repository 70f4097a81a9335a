use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let hits = HITS[cpu].load(Relaxed);
            let next = hits + 1;
        }
        commit store(&HITS[cpu], next)
    }
}
