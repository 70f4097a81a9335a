use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let _ = rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
        }
        commit store(&HITS[cpu], 1)
        => hits
        abort { drop(hits) }
    };
}
