use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

fn main() {
    let slots = PerCpu::<AtomicU64>::new();
    rseq! {
        commit |cpu| add(&slots[cpu], { drop(slots); 1 })
    }
}
