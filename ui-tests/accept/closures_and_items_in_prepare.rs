use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

pub(crate) fn main() {
    let sum = rseq! {
        prepare |cpu| {
            fn first_even(numbers: &[u64]) -> Option<u64> {
                let mut found = None;
                for number in numbers {
                    if number % 2 == 0 {
                        found = Some(*number);
                        break;
                    }
                }
                found
            }
            const STEP: u64 = {
                let mut step = 0;
                loop {
                    step += 1;
                    if step == 4 {
                        break step;
                    }
                }
            };
            struct Pair(u64, u64);
            impl Pair {
                fn sum(&self) -> u64 {
                    self.0 + self.1
                }
            }
            let count = |limit: u64| {
                let mut count = 0;
                loop {
                    if count == limit {
                        break count;
                    }
                    count += 1;
                }
            };
            let slot = &HITS[cpu];
            let sum = Pair(first_even(&[1, 2, 3]).unwrap_or(0) + count(3), STEP).sum();
        }
        commit store(slot, sum)
        => sum
    };
    assert_eq!((sum, hits()), (9, 9));
}
