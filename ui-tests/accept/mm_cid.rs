#![deny(warnings)]

use rseq::{MmCid, PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64, MmCid> = PerCpu::new();

pub(crate) fn main() {
    let first: MmCid = rseq! {
        prepare |cid: MmCid| { let slot = &HITS[cid]; let next = slot.load(Relaxed) + 1; }
        commit store(slot, next)
        => cid
    };
    let second: MmCid = rseq! {
        critical |cid: MmCid| {
            let hits = load(&HITS[cid]);
            let next = hits + 1;
        }
        commit store(&HITS[cid], next)
        => cid
    };
    assert!(first.get() < rseq::slots() && second.get() < rseq::slots());
    // With the path of its kind, which need not be imported.
    rseq! { commit |id: rseq::MmCid| add(&HITS[id], 1) }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|_| rseq! { commit |cid: MmCid| add(&HITS[cid], 1) }));
        }
    });
    assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 4_003);
}
