use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

async fn ready() {}

async fn hit() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            ready().await;
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}

fn main() {
    drop(hit());
}
