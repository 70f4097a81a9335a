use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

pub(crate) fn main() {
    // By its name alone.
    let last = rseq! {
        prepare |cpu| { let slot = &HITS[cpu]; }
        commit store(slot, 1)
        => cpu
    };
    // With its kind, which need not be imported.
    let next = rseq! {
        prepare |cpu: CpuId| { let slot = &HITS[cpu]; }
        commit store(slot, 1)
        => cpu.get() + last.get()
    };
    assert!(next < 2 * rseq::slots());
    // With the path of its kind.
    rseq! {
        commit |cpu: rseq::CpuId| store(&HITS[cpu], 1)
    }
    // On the commit of a section without `prepare`.
    let third = rseq! {
        commit |cpu| store(&HITS[cpu], 1)
        => cpu.get()
    };
    assert!(third < rseq::slots());
    // A name that starts with `r#`.
    rseq! {
        commit |r#fn| store(&HITS[r#fn], 1)
    }
    assert!(hits() < 4 * rseq::slots() as u64);
    // None, or one that isn't used.
    let one = AtomicU64::new(0);
    rseq! {
        commit |_cpu| store(&one, 1)
    }
    rseq! {
        prepare |_| { let next = one.load(Relaxed) + 1; }
        commit store(&one, next)
    }
    rseq! {
        commit |_| store(&one, one.load(Relaxed) + 1)
    }
    rseq! {
        prepare |_cpu| { let next = one.load(Relaxed) + 1; }
        commit store(&one, next)
    }
    assert_eq!(one.into_inner(), 4);
}
