use rseq::rseq;
use std::sync::atomic::AtomicU64;

static SHARED: AtomicU64 = AtomicU64::new(0);

fn main() {
    rseq! { commit add(&SHARED, true) }
}
