use rseq::rseq;
use std::sync::atomic::AtomicU64;

static SINK: AtomicU64 = AtomicU64::new(0);

fn consume(_: Vec<AtomicU64>) -> u64 {
    1
}

fn main() {
    let words = vec![AtomicU64::new(0)];
    rseq! {
        critical |_cpu| { store(&words[0], 3); }
        commit store(&SINK, consume(words))
    }
}
