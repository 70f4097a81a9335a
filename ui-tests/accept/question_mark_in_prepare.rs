use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

fn hit(step: &str) -> Result<u64, std::num::ParseIntError> {
    Ok(rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let step: u64 = step.parse()?;
            let next = slot.load(Relaxed) + step;
        }
        commit store(slot, next)
        => step
    })
}

pub(crate) fn main() {
    assert_eq!(hit("2"), Ok(2));
    assert!(hit("two").is_err());
    assert_eq!(hit("3"), Ok(3));
    assert_eq!(hits(), 5);
}
