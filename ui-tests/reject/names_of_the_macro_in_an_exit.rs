use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let _ = rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            if hits == 0 { exit (__rseq_outcome.end, __rseq_portable, __rseq_type_0) }
        }
        commit add(&HITS[cpu], 1)
        => (1, 2, 3)
    };
}
