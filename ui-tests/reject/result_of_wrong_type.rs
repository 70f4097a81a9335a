use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let hits: u64 = rseq! {
        commit |cpu| store(&HITS[cpu], 1)
        => "one"
    };
    drop(hits);
}
