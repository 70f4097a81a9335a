use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            match hits { 0 => exit, _ => {} }
        }
        commit add(&HITS[cpu], 1)
    }
}
