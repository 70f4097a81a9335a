use rseq::rseq;
use std::cell::Cell;

fn main() {
    let hits = Cell::new(0_u64);
    rseq! {
        commit |_cpu| store(&hits, 1)
    }
}
