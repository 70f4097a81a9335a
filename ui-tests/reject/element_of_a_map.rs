use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, AtomicUsize};

#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; 8],
}

static STACKS: PerCpu<Stack> = PerCpu::new();

fn main() {
    let items = std::collections::HashMap::<usize, AtomicU64>::new();
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |cpu| {
                let len = load(&STACKS[cpu].len);
                store(&items[len], 1);
            }
            commit add(&STACKS[cpu].len, 1)
        }
    }
}
