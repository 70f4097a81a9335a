use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicBool;

static FLAGS: PerCpu<AtomicBool> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let flag = load(&FLAGS[cpu]);
            let next = flag + true;
        }
        commit store(&FLAGS[cpu], next)
    }
}
