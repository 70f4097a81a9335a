use rseq::{PerCpu, rseq};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hit(log: &mut String) {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            write!(log, "{cpu}").unwrap();
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}

fn main() {
    hit(&mut String::new());
}
