use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let from = [0_u8; 8];
    let mut to = [0_u8; 8];
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |cpu| {
                let hits = load(&HITS[cpu]);
                copy(&raw const from, &raw mut to, hits);
            }
            commit add(&HITS[cpu], 1)
        }
    }
}
