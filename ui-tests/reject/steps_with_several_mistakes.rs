use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let mut hits = load(&HITS[cpu]);
            hits += 1;
            if hits { exit }
            load(&HITS[cpu]);
            let next = hits * 2;
        }
        commit store(&HITS[cpu], next)
    }
}
