use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicBool;

static FLAGS: PerCpu<AtomicBool> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let flag = load(&FLAGS[cpu]);
            if flag < true { exit }
        }
        commit store(&FLAGS[cpu], true)
    }
}
