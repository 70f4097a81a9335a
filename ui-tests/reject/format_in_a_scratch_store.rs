use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            store(&HITS[cpu], format!("one").len() as u64);
        }
        commit add(&HITS[cpu], 1)
    }
}
