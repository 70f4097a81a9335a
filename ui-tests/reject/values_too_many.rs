use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let _ = rseq! {
        critical |cpu| {
            let v0 = load(&HITS[cpu]);
            let v1 = load(&HITS[cpu]);
            let v2 = load(&HITS[cpu]);
            let v3 = load(&HITS[cpu]);
            let v4 = load(&HITS[cpu]);
            let v5 = load(&HITS[cpu]);
            let v6 = load(&HITS[cpu]);
            let v7 = load(&HITS[cpu]);
            let v8 = load(&HITS[cpu]);
            let v9 = load(&HITS[cpu]);
            let v10 = load(&HITS[cpu]);
            let v11 = load(&HITS[cpu]);
            let v12 = load(&HITS[cpu]);
            let v13 = load(&HITS[cpu]);
        }
        commit add(&HITS[cpu], 1)
        => [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13]
    };
}
