use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let one = 1_u32;
    rseq! {
        commit |cpu| or(&HITS[cpu], one)
    }
}
