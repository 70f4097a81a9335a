use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let hits = loop {
        let hit = rseq! {
            commit |cpu| store(&HITS[cpu], 1)
            => if cpu.get() > 9 { break 1 } else { 2 }
        };
        break hit;
    };
    drop(hits);
}
