use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hit(place: *mut u64) {
    rseq! {
        critical |cpu| {
            let hits = load(place);
            let next = hits + 1;
        }
        commit store(&HITS[cpu], next)
    }
}

fn main() {
    hit(&mut 0);
}
