use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// Every name that the expansion uses for something of its own.
fn main() {
    let (section, target, value, committed, aborts, publish) = (1_u64, 2_u64, 4_u64, 8_u64, 16_u64, 32_u64);
    let all = section + target + value + committed + aborts + publish;
    let mut seen = 0;
    let result = 'retry: {
        rseq! {
            prepare |window| {
                let attempt = &HITS[window];
                let first = section + target + value + committed + aborts + publish;
            }
            commit store(
                if target == 2 { attempt } else { break 'retry 0 },
                section + target + value + committed + aborts + publish + first
            )
            => section + target + value + committed + aborts + publish + first
            abort |count| {
                seen = section + target + value + committed + aborts + publish + u64::from(count);
                if seen == u64::MAX { break 'retry 1 }
            }
        }
    };
    assert_eq!((result, hits()), (2 * all, 2 * all));
    assert!(seen == 0 || seen > all);

    // The user's own bindings by these names, labels included.
    let result = 'attempt: loop {
        rseq! {
            prepare |section| {
                let target = &HITS[section];
                let value = target.load(Relaxed) + 1;
                let committed = "mine";
                let publish = 3;
                let aborts = 4;
            }
            commit store(target, value)
            => break 'attempt (section.get() < rseq::slots(), value, committed, publish, aborts)
            abort |aborts| {
                if aborts > 1_000_000 { continue 'attempt }
            }
        }
    };
    assert_eq!(result, (true, 2 * all + 1, "mine", 3, 4));
}
