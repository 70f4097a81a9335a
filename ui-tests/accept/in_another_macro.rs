use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

macro_rules! bump {
    ($slots:expr, $by:expr) => {
        rseq::rseq! {
            prepare |cpu| {
                let slot = &$slots[cpu];
                let next = slot.load(Relaxed) + $by;
            }
            commit store(slot, next)
            => next
        }
    };
}

macro_rules! section {
    ($cpu:ident, $body:block, $form:ident, $place:expr, $value:expr, $result:expr, $abort:block) => {
        rseq! {
            prepare |$cpu| $body
            commit $form($place, $value)
            => $result
            abort $abort
        }
    };
}

macro_rules! whole {
    ($($tokens:tt)*) => { rseq! { $($tokens)* } };
}

pub(crate) fn main() {
    assert_eq!(bump!(HITS, 1 + 1) * 2, hits() * 2);
    let doubled = section!(it, { assert!(it.get() < rseq::slots()) }, store, &HITS[it], 1 + 2, 2 * hits(), {});
    assert_eq!(doubled, 2 * hits());
    whole! { prepare |cpu| { let slot = &HITS[cpu]; } commit store_release(slot, 0) }
    // In the arguments of a macro, as an expression, in each kind of brackets.
    assert_eq!(rseq!(commit |cpu| store(&HITS[cpu], 0) => 1) + rseq![commit |cpu| store(&HITS[cpu], 0) => 2], 3);
}
