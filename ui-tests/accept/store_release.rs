use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

use std::sync::atomic::Ordering::Acquire;

pub(crate) fn main() {
    static DATA: AtomicU64 = AtomicU64::new(0);
    static READY: AtomicU64 = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rseq! {
                prepare |_cpu| { DATA.store(7, Relaxed); }
                commit store_release(&READY, 1)
            }
        });
        while READY.load(Acquire) == 0 {
            std::hint::spin_loop();
        }
        assert_eq!(DATA.load(Relaxed), 7);
    });
    rseq! { commit |cpu| store_release(&HITS[cpu], 9,) }
    assert_eq!(hits(), 9);
}
