use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicPtr;

struct Node {
    next: AtomicPtr<Node>,
    value: u64,
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();

fn main() {
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |cpu| {
                let first = load(&LISTS[cpu]);
                let rest = load(&first);
            }
            commit store(&LISTS[cpu], rest)
        }
    }
}
