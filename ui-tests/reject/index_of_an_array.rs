use rseq::rseq;
use std::sync::atomic::AtomicU64;

static ITEMS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

fn main() {
    rseq! {
        commit |cpu| store(&ITEMS[cpu], 1)
    }
}
