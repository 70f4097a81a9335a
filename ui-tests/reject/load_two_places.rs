use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let next = load(&HITS[cpu], &HITS[cpu]);
        }
        commit store(&HITS[cpu], next)
    }
}
