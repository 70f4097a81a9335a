use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    loop {
        rseq! {
            commit |cpu| store(if cpu.get() > 9 { continue } else { &HITS[cpu] }, 1)
        }
    }
}
