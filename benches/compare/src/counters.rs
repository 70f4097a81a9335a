//! Counters.

use std::arch::asm;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use contatori::counters::unsigned::Unsigned;
use fast_counter::ConcurrentCounter;
use rseq::Counter;
use thread_local::ThreadLocal;

use crate::measure::{BATCH, Candidate, available_cpus, candidate};

static OURS: [Counter; BATCH] = [const { Counter::new() }; BATCH];
static ATOMICS: [AtomicU64; BATCH] = [const { AtomicU64::new(0) }; BATCH];
static MUTEXES: [Mutex<u64>; BATCH] = [const { Mutex::new(0) }; BATCH];
static CONTATORI: [Unsigned; BATCH] = [const { Unsigned::new() }; BATCH];

thread_local! {
    static CELLS: [Cell<u64>; BATCH] = const { [const { Cell::new(0) }; BATCH] };
}

/// Additions to so many counters in turn, each at an address that the compiler doesn't know.
pub fn candidates(distinct: usize) -> Vec<Candidate> {
    let at = move |number| if distinct == 1 { black_box(0) } else { number };
    let shards = available_cpus().len();
    let fast: Vec<_> = (0..BATCH).map(|_| ConcurrentCounter::new(shards)).collect();
    let locals: Vec<_> = (0..BATCH).map(|_| ThreadLocal::<AtomicU64>::new()).collect();
    vec![
        candidate("`Counter`", move |number| OURS[at(number)].inc()),
        candidate("`add` of a thread's own, unprotected", move |number| {
            let place = CELLS.with(|cells| cells[at(number)].as_ptr());
            // SAFETY: an add to a cell of this thread.
            unsafe { asm!("add qword ptr [{}], 1", in(reg) place, options(nostack)) };
        }),
        candidate("`thread_local!` `Cell` (no sum)", move |number| {
            CELLS.with(|cells| {
                let cell = &cells[at(number)];
                cell.set(cell.get() + 1);
                black_box(cell.as_ptr());
            });
        }),
        candidate("`AtomicU64::fetch_add`", move |number| _ = ATOMICS[at(number)].fetch_add(1, Relaxed)),
        candidate("contatori 0.7", move |number| CONTATORI[at(number)].add(1)),
        candidate("fast-counter 1.0", move |number| fast[at(number)].add(1)),
        candidate("thread_local 1.1, `AtomicU64` for each thread", move |number| {
            locals[at(number)].get_or_default().fetch_add(1, Relaxed);
        }),
        candidate("`Mutex`", move |number| *MUTEXES[at(number)].lock().expect("nobody panics") += 1),
    ]
}
