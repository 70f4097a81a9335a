use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU8;

static BYTES: PerCpu<AtomicU8> = PerCpu::new();

fn main() {
    rseq! {
        commit |cpu| store(&BYTES[cpu], 256)
    }
}
