use rseq::{CpuId, PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static SHARED: AtomicU64 = AtomicU64::new(0);
static TABLE: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! { commit |cpu| add(&SHARED, 1) }
    rseq! { commit |cpu| add(&TABLE[CpuId::new(0).unwrap()], 1) }
    rseq! {
        critical |cid: MmCid| { let old = load(&SHARED); }
        commit store(&SHARED, old)
    }
}
