use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicPtr;

struct Node {
    next: AtomicPtr<Node>,
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();

fn main() {
    rseq! {
        commit |cpu| or(&LISTS[cpu], 1)
    }
}
