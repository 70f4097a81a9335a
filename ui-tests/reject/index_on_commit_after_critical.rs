use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |_cpu| { let hits = load(&HITS[cpu]); }
        commit |cpu| store(&HITS[cpu], 1)
    }
}
