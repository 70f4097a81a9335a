use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let step = 1_u64;
    rseq! {
        critical |cpu| {
            let step = load(&step);
        }
        commit add(&HITS[cpu], step)
    }
}
