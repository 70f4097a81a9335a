//! How often sections are aborted, by how long their `prepare` is.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rseq::{PerCpu, rseq};
use rseq_bench_harness::{Contender, contender, hidden};

use crate::Others;

/// Steps of `prepare`, about a nanosecond each.
const LENGTHS: [usize; 5] = [0, 10, 100, 1000, 10_000];

static SLOTS: PerCpu<AtomicU64> = PerCpu::new();
static WINDOW_ABORTS: AtomicU64 = AtomicU64::new(0);
static ABORTS: [AtomicU64; LENGTHS.len()] = [const { AtomicU64::new(0) }; LENGTHS.len()];

pub fn contenders(_: &Others) -> Vec<Contender> {
    let all_window = contender("all window", |_| window()).with_aborts(|| WINDOW_ABORTS.load(Relaxed));
    let prepared = LENGTHS.iter().zip(&ABORTS).map(|(&steps, aborts)| {
        contender(format!("prepare of {steps} steps"), move |_| prepared(steps, aborts))
            .with_aborts(|| aborts.load(Relaxed))
    });
    std::iter::once(all_window).chain(prepared).collect()
}

fn window() {
    rseq! {
        commit |cpu| add(&SLOTS[cpu], 1)
        abort { WINDOW_ABORTS.fetch_add(1, Relaxed); }
    }
}

fn prepared(steps: usize, aborts: &AtomicU64) {
    rseq! {
        prepare |cpu| {
            let slot = &SLOTS[cpu];
            let next = (0..steps).fold(slot.load(Relaxed), |value, step| value.wrapping_add(hidden(step) as u64));
        }
        commit store(slot, next)
        abort { aborts.fetch_add(1, Relaxed); }
    }
}
