use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let behind = load(&(*cpu).field);
            let element = load(&cpu[behind]);
            let inside = load(&(*behind).cells[cpu]);
        }
        commit store(&HITS[cpu], element)
    }
}
