use rseq::rseq;
use std::sync::atomic::AtomicU64;

fn main() {
    let boxed = Box::new(AtomicU64::new(0));
    rseq! {
        commit |_cpu| store(&*boxed, { drop(boxed); 1 })
    }
}
