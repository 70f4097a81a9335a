//! Counters.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use contatori::counters::unsigned::Unsigned;
use fast_counter::ConcurrentCounter;
use rseq::{Counter, PerCpu, rseq};
use thread_local::ThreadLocal;

use super::getcpu;
use super::others::Others;
use crate::measuring::{BATCH, Contender, available_cpus, contender, hidden, in_register};

/// A value with cache lines of its own, and those that are fetched with them.
#[repr(align(128))]
struct Padded<T>(T);

type Counts = [AtomicU64; BATCH];

static COUNTERS: [Counter; BATCH] = [const { Counter::new() }; BATCH];
static COUNTS: [PerCpu<AtomicU64>; BATCH] = [const { PerCpu::new() }; BATCH];
static SHARED: Counts = [const { AtomicU64::new(0) }; BATCH];
static PADDED: [Padded<AtomicU64>; BATCH] = [const { Padded(AtomicU64::new(0)) }; BATCH];
static MUTEXES: [Mutex<u64>; BATCH] = [const { Mutex::new(0) }; BATCH];
static CONTATORI: [Unsigned; BATCH] = [const { Unsigned::new() }; BATCH];

/// So many parts that no two CPUs of most machines share one.
const SHARDS: usize = 256;
static SHARDED: [Padded<Counts>; SHARDS] = [const { Padded([const { AtomicU64::new(0) }; BATCH]) }; SHARDS];

thread_local! {
    static CELLS: [Cell<u64>; BATCH] = const { [const { Cell::new(0) }; BATCH] };
}

/// Additions to the same counter over and over.
pub fn one(others: &Others) -> Vec<Contender> {
    contenders(1, others)
}

/// Additions to as many as a batch has operations, in turn.
pub fn in_turn(others: &Others) -> Vec<Contender> {
    contenders(BATCH, others)
}

fn contenders(distinct: usize, others: &Others) -> Vec<Contender> {
    let at = move |number| if distinct == 1 { hidden(0) } else { number };
    let mut all = vec![contender("unprotected", move |number| unprotected(at(number)))];
    all.extend([
        contender("section, all window", move |number| window(at(number))),
        contender("section, watched", move |number| watched(at(number))),
        contender("Counter", move |number| COUNTERS[at(number)].inc()),
    ]);
    all.extend(others.by_hand.map(|by_hand| by_hand.counters(at)));
    all.extend(others.librseq.map(|librseq| librseq.counters(distinct)));
    let sharded = move |number| &SHARDED[getcpu::by_libc() % SHARDS].0[at(number)];
    all.extend([
        contender("atomic, shared", move |number| _ = in_register(&SHARED[at(number)]).fetch_add(1, Relaxed)),
        contender("atomic, shared, padded", move |number| _ = in_register(&PADDED[at(number)].0).fetch_add(1, Relaxed)),
        contender("atomic, sharded by sched_getcpu", move |number| {
            _ = in_register(sharded(number)).fetch_add(1, Relaxed)
        }),
        contender("Mutex", move |number| *MUTEXES[at(number)].lock().expect("nobody panics") += 1),
        contender("thread_local! Cell, without a sum", move |number| {
            CELLS.with(|cells| {
                let cell = in_register(&cells[at(number)]);
                cell.set(cell.get() + 1);
            });
        }),
    ]);
    all.extend(crates(at));
    all
}

/// Those of other crates.
fn crates(at: impl Fn(usize) -> usize + Copy + Sync + 'static) -> [Contender; 4] {
    let shards = available_cpus().len();
    let fast: Vec<_> = (0..BATCH).map(|_| ConcurrentCounter::new(shards)).collect();
    let locals: Vec<_> = (0..BATCH).map(|_| ThreadLocal::<AtomicU64>::new()).collect();
    let registry = s2n_quic_dc_metrics::Registry::new();
    let metrics: Vec<_> =
        (0..BATCH).map(|number| registry.register_counter(format!("counter-{number}"), None)).collect();
    [
        contender("thread_local 1.1, atomics", move |number| {
            locals[at(number)].get_or_default().fetch_add(1, Relaxed);
        }),
        contender("contatori 0.7", move |number| CONTATORI[at(number)].add(1)),
        contender("fast-counter 1.0", move |number| fast[at(number)].add(1)),
        contender("s2n-quic-dc-metrics 0.91", move |number| metrics[at(number)].increment(1)),
    ]
}

/// The thread's own, on x86-64 by one instruction.
#[inline(always)]
fn unprotected(counter: usize) {
    let place = CELLS.with(|cells| cells[counter].as_ptr());
    // SAFETY: an addition to a cell of this thread.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("add qword ptr [{}], 1", in(reg) place, options(nostack));
    }
    // SAFETY: the same.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        place.write_volatile(place.read_volatile() + 1);
    }
}

#[inline(always)]
fn window(counter: usize) {
    rseq! { commit |cpu| add(&COUNTS[counter][cpu], 1) }
}

#[inline(always)]
fn watched(counter: usize) {
    rseq! {
        prepare |cpu| {
            let slot = &COUNTS[counter][cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}
