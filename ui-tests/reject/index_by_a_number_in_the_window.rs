use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |cpu| {
                let hits = load(&HITS[cpu]);
                let other = load(&HITS[hits]);
            }
            commit store(&HITS[cpu], other)
        }
    }
}
