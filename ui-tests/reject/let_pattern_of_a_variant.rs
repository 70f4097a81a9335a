use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let Some(hits) = load(&HITS[cpu]) else { return };
        }
        commit store(&HITS[cpu], 1)
    }
}
