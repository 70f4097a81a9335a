//! The memory that a counter takes when a thousand threads count.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};
use std::thread;

use contatori::counters::unsigned::Unsigned;
use fast_counter::ConcurrentCounter;
use rseq::Counter;
use thread_local::ThreadLocal;

const THREADS: usize = 1000;
/// So many that pages don't matter.
const COUNTERS: usize = 1000;

/// A table of the bytes for each of a thousand counters.
pub fn table() -> String {
    let rows = [
        ("`Counter`", bytes(Counter::new, Counter::inc)),
        ("`AtomicU64`", bytes(AtomicU64::default, |counter| _ = counter.fetch_add(1, Relaxed))),
        ("contatori 0.7", bytes(Unsigned::new, |counter| counter.add(1))),
        ("fast-counter 1.0", bytes(|| ConcurrentCounter::new(2), |counter| counter.add(1))),
        (
            "thread_local 1.1, `AtomicU64` for each thread",
            bytes(ThreadLocal::<AtomicU64>::new, |counter| _ = counter.get_or_default().fetch_add(1, Relaxed)),
        ),
    ];
    let mut table = format!(
        "Memory: bytes a counter, of {COUNTERS} to which {THREADS} threads added, {} possible CPUs:\n\n| | bytes |\n|---|---|\n",
        rseq::slots() - 1
    );
    for (name, bytes) in rows {
        writeln!(table, "| {name} | {bytes} |").expect("a string takes everything");
    }
    table
}

/// By how much the process grows for a counter, while all threads that add to it are there. (Their
/// stacks are, before and after.)
fn bytes<C: Send + Sync>(make: impl Fn() -> C, add: impl Fn(&C) + Sync) -> u64 {
    let counters = OnceLock::new();
    let together = Barrier::new(THREADS + 1);
    let grown = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                together.wait();
                together.wait();
                counters.get().into_iter().flatten().for_each(&add);
                together.wait();
                // Still there while the memory is measured.
                together.wait();
            });
        }
        together.wait();
        let before = resident();
        counters.get_or_init(|| (0..COUNTERS).map(|_| make()).collect::<Vec<C>>());
        together.wait();
        together.wait();
        let after = resident();
        together.wait();
        after.saturating_sub(before)
    });
    grown / COUNTERS as u64
}

/// The bytes that the process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux says how much there is");
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("the second is a number");
    pages * 4096
}
