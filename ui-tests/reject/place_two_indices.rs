use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, AtomicUsize};

#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; 8],
}

static STACKS: PerCpu<Stack> = PerCpu::new();

fn main() {
    // SAFETY: never runs.
    unsafe {
        rseq! {
            prepare |cpu| { let stack = &STACKS[cpu]; }
            critical {
                let len = load(&stack.len);
                let item = load(&STACKS[cpu].items[len][len]);
            }
            commit add(&stack.len, 1)
        }
    }
}
