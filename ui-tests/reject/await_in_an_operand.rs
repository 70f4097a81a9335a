use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

async fn ready() -> u64 {
    1
}

async fn hit() {
    rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            let next = hits + ready().await;
        }
        commit store(&HITS[cpu], next)
    }
}

fn main() {
    drop(hit());
}
