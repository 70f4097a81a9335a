//! The contenders: things to measure.

use std::arch::asm;
use std::hint::spin_loop;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// So many operations are done at a time.
pub const BATCH: usize = 64;

/// One way to do an operation.
pub struct Contender {
    /// Its name in tables and files.
    pub name: String,
    pub(super) run: Box<dyn Fn(&Seat<'_>) + Sync>,
    /// Follows each race.
    pub(super) tidy: Box<dyn Fn() + Sync>,
    pub(super) aborts: Option<Box<dyn Fn() -> u64 + Sync>>,
    pub(super) signals: Option<Duration>,
}

/// The place of a thread in a race.
#[derive(Clone, Copy)]
pub(super) struct Seat<'r> {
    /// Its number.
    pub thread: usize,
    /// The number of all.
    pub threads: usize,
    pub is_over: &'r (dyn Fn() -> bool + Sync),
}

impl Seat<'_> {
    /// Tries until it is done, or the race is over: what it waits for may be up to other threads.
    fn until(&self, done: impl Fn() -> bool) {
        for turn in 1.. {
            if done() || (self.is_over)() {
                return;
            }
            // There may be more threads than CPUs.
            if turn % 64 == 0 { thread::yield_now() } else { spin_loop() }
        }
    }
}

/// A contender whose threads put items somewhere, if their numbers are even, or take what others
/// put there. One that is alone does both. Either is an operation, and done again while it says
/// that there is no room, or no item.
pub fn flow(
    name: impl Into<String>,
    put: impl Fn(usize) -> bool + Sync + 'static,
    take: impl Fn() -> bool + Send + Sync + 'static,
) -> Contender {
    let take = Arc::new(take);
    let again = Arc::clone(&take);
    let run = move |seat: &Seat<'_>| {
        for number in 0..BATCH {
            // One that is alone takes turns: nobody else would make room for it.
            let turn = if seat.threads == 1 { number } else { seat.thread };
            if turn.is_multiple_of(2) { seat.until(|| put(number)) } else { seat.until(&*take) }
        }
    };
    // The race left some items, and the next one isn't to begin with them.
    let tidy = move || while again() {};
    Contender { run: Box::new(run), tidy: Box::new(tidy), ..Contender::of_batches(name, || {}) }
}

/// A contender by a function that does one operation, with its number in the batch.
pub fn contender(name: impl Into<String>, operation: impl Fn(usize) + Sync + 'static) -> Contender {
    Contender::of_batches(name, move || {
        for number in 0..BATCH {
            operation(number);
        }
    })
}

/// The number, which the compiler no longer knows. Unlike with `black_box`, it stays in a register.
#[inline(always)]
pub fn hidden(mut number: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {} */", inout(reg) number, options(nomem, nostack, preserves_flags)) };
    number
}

/// The same reference, in a register: whoever goes there needs no address of an index, a
/// displacement or both, which processors treat differently.
#[inline(always)]
pub fn in_register<T>(reference: &T) -> &T {
    let address = std::ptr::from_ref(reference);
    // SAFETY: it is the address of the reference.
    unsafe { &*std::ptr::with_exposed_provenance(hidden(address.expose_provenance())) }
}

impl Contender {
    /// A contender by a function that does [`BATCH`] operations.
    pub fn of_batches(name: impl Into<String>, run: impl Fn() + Sync + 'static) -> Self {
        Self { name: name.into(), run: Box::new(move |_| run()), tidy: Box::new(|| {}), aborts: None, signals: None }
    }

    /// Known as well is how often its sections were aborted so far.
    #[must_use]
    pub fn with_aborts(mut self, aborts: impl Fn() -> u64 + Sync + 'static) -> Self {
        self.aborts = Some(Box::new(aborts));
        self
    }

    /// Each of its threads gets a signal each time that so much time has gone by.
    #[must_use]
    pub fn with_signals(mut self, every: Duration) -> Self {
        self.signals = Some(every);
        self
    }

    /// How often its sections were aborted, where that is known.
    pub(super) fn aborts(&self) -> Option<u64> {
        self.aborts.as_ref().map(|aborts| aborts())
    }
}
