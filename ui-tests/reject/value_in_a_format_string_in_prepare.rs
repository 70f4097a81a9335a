use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let (old, limit) = (1, 2);
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            assert!(limit > 0, "{old}");
            debug_assert_ne!(limit, old);
        }
        critical {
            let old = load(slot);
        }
        commit store(slot, old)
    }
}
