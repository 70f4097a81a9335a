use rseq::rseq;
use std::cell::UnsafeCell;

struct Hits(UnsafeCell<u64>);

fn hit(hits: &Hits) {
    rseq! {
        commit |_cpu| store(hits.0.get(), 1)
    }
}

fn main() {
    hit(&Hits(UnsafeCell::new(0)));
}
