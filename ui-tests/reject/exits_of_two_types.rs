use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let _ = rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            if hits == 0 { exit 1 }
            if hits == 1 { exit "one" }
        }
        commit add(&HITS[cpu], 1)
        => 2
    };
}
