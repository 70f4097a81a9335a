use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicPtr;

static BYTES: PerCpu<AtomicPtr<u8>> = PerCpu::new();

fn main() {
    rseq! {
        critical |cpu| {
            let byte = load(&BYTES[cpu]);
            store(byte, 7);
        }
        commit store(&BYTES[cpu], null)
    }
}
