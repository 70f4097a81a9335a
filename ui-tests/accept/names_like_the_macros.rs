use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// Every name that the expansion uses for something of its own.
pub(crate) fn main() {
    let (__rseq_section, __rseq_target, __rseq_value, __rseq_committed, __rseq_aborts, __rseq_publish) =
        (1_u64, 2_u64, 4_u64, 8_u64, 16_u64, 32_u64);
    let all = __rseq_section + __rseq_target + __rseq_value + __rseq_committed + __rseq_aborts + __rseq_publish;
    let mut seen = 0;
    let result = 'retry: {
        rseq! {
            prepare |window| {
                let attempt = &HITS[window];
                let first = __rseq_section + __rseq_target + __rseq_value + __rseq_committed
                    + __rseq_aborts + __rseq_publish;
            }
            commit store(
                if __rseq_target == 2 { attempt } else { break 'retry 0 },
                __rseq_section + __rseq_target + __rseq_value + __rseq_committed + __rseq_aborts
                    + __rseq_publish + first
            )
            => __rseq_section + __rseq_target + __rseq_value + __rseq_committed + __rseq_aborts + __rseq_publish + first
            abort |count| {
                seen = __rseq_section + __rseq_target + __rseq_value + __rseq_committed + __rseq_aborts
                    + __rseq_publish + u64::from(count);
                if seen == u64::MAX { break 'retry 1 }
            }
        }
    };
    assert_eq!((result, hits()), (2 * all, 2 * all));
    assert!(seen == 0 || seen > all);

    // The user's own bindings by these names, labels included.
    let result = 'attempt: loop {
        rseq! {
            prepare |__rseq_section| {
                let __rseq_target = &HITS[__rseq_section];
                let __rseq_value = __rseq_target.load(Relaxed) + 1;
                let __rseq_committed = "mine";
                let __rseq_publish = 3;
                let __rseq_aborts = 4;
            }
            commit store(__rseq_target, __rseq_value)
            => break 'attempt (__rseq_section.get() < rseq::slots(), __rseq_value, __rseq_committed,
                __rseq_publish, __rseq_aborts)
            abort |__rseq_aborts| {
                if __rseq_aborts > 1_000_000 { continue 'attempt }
            }
        }
    };
    assert_eq!(result, (true, 2 * all + 1, "mine", 3, 4));
}
