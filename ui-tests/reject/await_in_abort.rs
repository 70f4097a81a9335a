use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

async fn ready() {}

async fn hit() {
    rseq! {
        commit |cpu| store(&HITS[cpu], 1)
        abort { ready().await }
    }
}

fn main() {
    drop(hit());
}
