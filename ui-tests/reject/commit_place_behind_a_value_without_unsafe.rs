use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicPtr, AtomicU64};

static SHARED: PerCpu<AtomicPtr<AtomicU64>> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let hits = load(&SHARED[cpu]);
        }
        commit add(&*hits, 1)
    }
}
