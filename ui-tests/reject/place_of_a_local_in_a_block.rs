use rseq::rseq;
use std::sync::atomic::AtomicU64;

fn main() {
    rseq! {
        commit |_cpu| add({ let here = AtomicU64::new(0); &here }, 1)
    }
}
