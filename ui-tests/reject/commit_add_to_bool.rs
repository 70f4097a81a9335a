use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicBool;

static FLAGS: PerCpu<AtomicBool> = PerCpu::new();

fn main() {
    rseq! {
        commit |cpu| add(&FLAGS[cpu], true)
    }
}
