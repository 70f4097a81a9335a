use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize};

#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; 8],
}

static AT: AtomicI32 = AtomicI32::new(0);
static STACKS: PerCpu<Stack> = PerCpu::new();

fn main() {
    // SAFETY: never runs.
    unsafe {
        rseq! {
            prepare |cpu| { let stack = &STACKS[cpu]; }
            critical {
                let at = load(&AT);
                let item = load(&stack.items[at]);
            }
            commit add(&stack.len, 1)
        }
    }
}
