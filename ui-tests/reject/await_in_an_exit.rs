use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

async fn ready() -> bool {
    true
}

async fn hit() -> bool {
    rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            if hits == 0 { exit ready().await }
        }
        commit add(&HITS[cpu], 1)
        => true
    }
}

fn main() {
    drop(hit());
}
