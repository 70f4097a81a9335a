use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    loop {
        rseq! {
            critical |cpu| {
                let hits = load(&HITS[cpu]);
                if hits == 7 { exit break }
            }
            commit add(&HITS[cpu], 1)
        }
    }
}
