use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let _ = rseq! {
        commit |cpu| store(&HITS[cpu], 1)
        => (__rseq_value, committed, publish)
        abort |n| { drop((n, __rseq_aborts)) }
    };
}
