//! How often sections are aborted, by how long their `prepare` is; what that takes, and whether all
//! threads get their turn.

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rseq::{PerCpu, rseq};

use super::others::Others;
use crate::measuring::{Contender, contender, hidden};

/// Steps of `prepare`, about a quarter of a nanosecond each.
const LENGTHS: [usize; 6] = [0, 10, 100, 1000, 10_000, 100_000];
/// From one signal to the next.
const BETWEEN_SIGNALS: Duration = Duration::from_micros(100);

static SLOTS: PerCpu<AtomicU64> = PerCpu::new();
static WINDOW_ABORTS: AtomicU64 = AtomicU64::new(0);
static ABORTS: [AtomicU64; LENGTHS.len()] = [const { AtomicU64::new(0) }; LENGTHS.len()];

/// By preemption alone.
pub fn contenders(_: &Others) -> Vec<Contender> {
    // For what the scheduler does by itself.
    let unprotected = contender("unprotected, 1000 steps", |_| _ = hint::black_box(taken(1000, 0)));
    let all_window = contender("all window", |_| window()).with_aborts(|| WINDOW_ABORTS.load(Relaxed));
    let prepared = LENGTHS.iter().zip(&ABORTS).map(|(&steps, aborts)| of(steps, aborts));
    [unprotected, all_window].into_iter().chain(prepared).collect()
}

/// By signals as well.
pub fn signalled(others: &Others) -> Vec<Contender> {
    contenders(others).into_iter().map(|contender| contender.with_signals(BETWEEN_SIGNALS)).collect()
}

fn of(steps: usize, aborts: &'static AtomicU64) -> Contender {
    let name = format!("prepare of {steps} steps");
    contender(name, move |_| prepared(steps, aborts)).with_aborts(|| aborts.load(Relaxed))
}

/// So many steps.
#[inline(always)]
fn taken(steps: usize, begin: u64) -> u64 {
    (0..steps).fold(begin, |value, step| value.wrapping_add(hidden(step) as u64))
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
            let next = taken(steps, slot.load(Relaxed));
        }
        commit store(slot, next)
        abort { aborts.fetch_add(1, Relaxed); }
    }
}
