use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            exit 7;
        }
        commit add(&HITS[cpu], 1)
    }
}
