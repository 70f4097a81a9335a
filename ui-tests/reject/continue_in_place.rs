use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    loop {
        rseq! {
            prepare |cpu| { let first = cpu.get() == 0; }
            commit store(if first { continue } else { &HITS[cpu] }, 1)
        }
    }
}
