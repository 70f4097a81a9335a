use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicPtr, AtomicU64};

static ITEMS: PerCpu<AtomicPtr<Vec<AtomicU64>>> = PerCpu::new();

fn main() {
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |cpu| {
                let items = load(&ITEMS[cpu]);
                store(&(*items)[0], 1);
            }
            commit store(&ITEMS[cpu], null)
        }
    }
}
