use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicPtr, AtomicU64};

static ITEMS: PerCpu<AtomicPtr<AtomicU64>> = PerCpu::new();

fn main() {
    let at = 1_i32;
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |cpu| {
                let items = load(&ITEMS[cpu]);
                store(&items[at], 1);
            }
            commit store(&ITEMS[cpu], null)
        }
    }
}
