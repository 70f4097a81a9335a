use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

/// # Safety
/// Never.
unsafe fn old(_: &AtomicU64) {}

fn main() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            old(slot);
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}
