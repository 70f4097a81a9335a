use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

macro_rules! id {
    ($value:expr) => { std::hint::black_box($value) };
}

pub(crate) fn main() {
    let mut steps = Vec::with_capacity(100);
    rseq! {
        prepare |_cpu| { steps.push(1) }
        commit store(&AtomicU64::new(0), 1)
    }
    rseq! {
        prepare |cpu| { if cpu.get() > 9 { steps.len() } else { 2 } }
        commit store(&AtomicU64::new(0), 1)
    }
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            match steps.len() { 0 => "none", _ => "some" }
        }
        commit store(slot, 3)
    }
    rseq! {
        prepare |_cpu| { assert!(!steps.is_empty()) }
        commit store(&AtomicU64::new(0), 1)
    }
    rseq! {
        prepare |_cpu| { assert! { !steps.is_empty() } }
        commit store(&AtomicU64::new(0), 1)
    }
    rseq! {
        prepare |_cpu| { let kept = 4_u64; id! { (kept, 5) } }
        commit store(&AtomicU64::new(0), kept)
    }
    rseq! {
        prepare |_cpu| { { steps.clear() } }
        commit store(&AtomicU64::new(0), 1)
    }
    assert!(steps.is_empty());
    assert_eq!(hits(), 3);
}
