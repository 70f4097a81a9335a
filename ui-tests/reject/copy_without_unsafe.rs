use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let from = [0_u8; 8];
    let mut to = [0_u8; 8];
    rseq! {
        critical |cpu| {
            copy(&raw const from, &raw mut to, 8);
        }
        commit add(&HITS[cpu], 1)
    }
}
