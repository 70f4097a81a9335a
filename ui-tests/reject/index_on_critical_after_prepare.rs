use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |_cpu| { let one = 1; }
        critical |cpu| { let hits = load(&HITS[cpu]); }
        commit store(&HITS[cpu], one)
    }
}
