use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            commit store(&HITS[cpu], 1);
        }
        commit add(&HITS[cpu], 1)
    }
}
