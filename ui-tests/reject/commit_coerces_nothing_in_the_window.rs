use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicPtr;

static LISTS: PerCpu<AtomicPtr<u64>> = PerCpu::new();

fn main() {
    let mut first = 1;
    rseq! {
        commit |cpu| store(&LISTS[cpu], &mut first)
    }
}
