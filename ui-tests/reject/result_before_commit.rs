use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let hits = rseq! {
        => 1
        commit |cpu| store(&HITS[cpu], 1)
    };
    drop(hits);
}
