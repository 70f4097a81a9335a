//! The contenders: things to measure.

use std::arch::asm;
use std::time::Duration;

/// So many operations are done at a time.
pub const BATCH: usize = 64;

/// One way to do an operation.
pub struct Contender {
    /// Its name in tables and files.
    pub name: String,
    pub(crate) run: Box<dyn Fn() + Sync>,
    pub(crate) aborts: Option<Box<dyn Fn() -> u64 + Sync>>,
    pub(crate) signals: Option<Duration>,
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
        Self { name: name.into(), run: Box::new(run), aborts: None, signals: None }
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
    pub(crate) fn aborts(&self) -> Option<u64> {
        self.aborts.as_ref().map(|aborts| aborts())
    }
}
