//! Sections on a machine that doesn't exist, whose kernel interrupts them in every way and at every
//! step.
//!
//! [`model!`](crate::model!) is `rseq!` for that machine: the same language, compiled to the same
//! steps, each of which asks the model first whether something happens to the thread there.
//! `prepare`, `abort` and results are ordinary Rust as ever; `prepare` may be interrupted before
//! each of its statements. A [`Model`] runs such sections by every schedule with a bounded number
//! of events: preemptions, moves to another CPU, signals whose handler runs sections, fences, and
//! any interleaving with the threads of the other CPU. After each run a check says whether the
//! result is right, and the model itself whether its rules were kept: see [`Broken`].
//!
//! It needs neither a kernel with restartable sequences nor a machine with several CPUs, and the
//! same bounds give the same runs each time. It can't show what the machine's instructions do; that
//! the asm does the same as the steps is what the tests of random sections are for.
//!
//! ```
//! use rseq::PerCpu;
//! use rseq_explore::model::{Bounds, Model};
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! fn hit(hits: &PerCpu<AtomicU64>) {
//!     rseq_explore::model! {
//!         prepare |cpu| {
//!             let slot = &hits[cpu];
//!             let next = slot.load(Relaxed) + 1;
//!         }
//!         commit store(slot, next)
//!     }
//! }
//!
//! let report = Model::new(PerCpu::new)
//!     .thread(0, hit)
//!     .thread(0, hit)
//!     .handler(hit)
//!     .check(|hits, done| {
//!         let sum: u64 = hits.iter().map(|slot| slot.load(Relaxed)).sum();
//!         assert_eq!(sum, done.all() as u64);
//!     })
//!     .explore(Bounds::events(1));
//! assert!(report.schedules > 10);
//! ```

mod code;
mod event;
#[doc(hidden)]
pub mod expansion;
mod kernel;
mod path;
mod running;
mod schedule;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

pub use rseq::{CpuId, MmCid};

use self::code::Address;
pub use self::event::Wrong;
#[doc(hidden)]
pub use self::expansion as __private;
pub use self::kernel::{Broken, CPUS};
use self::kernel::{Commits, Thread};
pub use self::path::Bounds;
use self::running::{Events, Running};

/// A section as `rseq::rseq!` has it, for a [`Model`] to interrupt. Outside of one it runs as if
/// alone on CPU 0.
///
/// ```
/// use rseq::PerCpu;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// let hits: PerCpu<AtomicU64> = PerCpu::new();
/// let cpu = rseq_explore::model! { commit |cpu| add(&hits[cpu], 1) => cpu };
/// assert_eq!(hits[cpu].load(Relaxed), 1);
/// ```
#[macro_export]
macro_rules! model {
    ([$mutation:ident] $($tokens:tt)*) => {
        $crate::model::__private::mutant! { [$crate::model] [model] [$mutation] $($tokens)* }
    };
    ($($tokens:tt)*) => {
        $crate::model::__private::section! { [$crate::model] [model] $($tokens)* }
    };
}

/// The threads and handlers that came to their ends in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Threads.
    pub threads: usize,
    /// Handlers of signals.
    pub handlers: usize,
}

impl Done {
    /// Both.
    #[must_use]
    pub fn all(self) -> usize {
        self.threads + self.handlers
    }
}

/// The schedules that were run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// How many schedules.
    pub schedules: u64,
    /// How many steps the longest one took.
    pub steps: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} schedules of up to {} steps", self.schedules, self.steps)
    }
}

/// A schedule by which something goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The mistake.
    pub wrong: Wrong,
    /// The steps up to there, and what happened in front of them.
    pub steps: Vec<String>,
    /// Which schedule it was.
    pub schedule: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, by schedule {}:", self.wrong, self.schedule)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

type Body<S> = Rc<dyn Fn(&S)>;
type Check<S> = Box<dyn Fn(&S, Done)>;

/// Threads with sections, and what must come of them.
pub struct Model<S> {
    setup: Box<dyn Fn() -> S>,
    threads: Vec<(usize, Body<S>)>,
    handler: Option<Body<S>>,
    check: Check<S>,
}

impl<S> fmt::Debug for Model<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl<S: 'static> Model<S> {
    /// A model of threads that share what `setup` makes, anew for each run.
    #[must_use]
    pub fn new(setup: impl Fn() -> S + 'static) -> Self {
        Self { setup: Box::new(setup), threads: Vec::new(), handler: None, check: Box::new(|_, _| {}) }
    }

    /// One more thread, on this CPU at first. Threads on the same CPU run by turns.
    ///
    /// # Panics
    /// If there is no such CPU: see [`CPUS`].
    #[must_use]
    pub fn thread(mut self, cpu: usize, body: impl Fn(&S) + 'static) -> Self {
        assert!(cpu < CPUS, "there are {CPUS} CPUs");
        self.threads.push((cpu, Rc::new(body)));
        self
    }

    /// Adds a signal's handler, which may come to every thread at every step.
    #[must_use]
    pub fn handler(mut self, handler: impl Fn(&S) + 'static) -> Self {
        self.handler = Some(Rc::new(handler));
        self
    }

    /// Adds a check of the end, which panics unless all is as it must be.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&S, Done) + 'static) -> Self {
        self.check = Box::new(check);
        self
    }
}

/// A fence, which is to the model what `rseq::fence::all()` is to the machine's sections: when it
/// returns, no section of the model's other threads that began before can still commit.
pub fn fence() {
    running::fence();
}

/// A step in front of which a thread is that runs [`alone`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// How many attempts there were before this one.
    pub attempt: usize,
    /// The step's text.
    pub step: &'static str,
    /// How much of `critical` and `commit` is done, in half statements: the number is odd in the
    /// middle of a `copy`.
    pub progress: usize,
    /// True if a descriptor is in force. If so, and unless the section has committed, an
    /// interruption aborts it.
    pub armed: bool,
}

/// Runs `body` on a thread of its own, alone, and interrupts it in front of the steps that
/// `interrupts` says.
///
/// ```
/// use rseq::{PerCpu, rseq};
/// use rseq_explore::model::alone;
/// use std::sync::atomic::AtomicU64;
///
/// let hits: PerCpu<AtomicU64> = PerCpu::from_fn(|_| AtomicU64::new(0));
/// rseq! { commit |cpu| add(&hits[cpu], 1) } // the first use, for which a section may start again
/// let mut aborts = 0;
/// alone(|place| place.attempt < 3, || {
///     rseq_explore::model! { commit |cpu| add(&hits[cpu], 1) abort { aborts += 1; } }
/// });
/// assert_eq!(aborts, 3);
/// ```
///
/// # Panics
/// If a rule of the model is broken.
pub fn alone<R>(interrupts: impl FnMut(Place) -> bool + 'static, body: impl FnOnce() -> R) -> R {
    let thread = Rc::new(Thread::new(0, Commits::default()));
    let events: Rc<dyn Events> = Rc::new(Alone(RefCell::new(Box::new(interrupts))));
    let result = running::aside(|| {
        running::switch_to(Running { thread: thread.clone(), events: Some(events) });
        body()
    });
    thread.is_outside();
    if let Some(rule) = thread.broken() {
        panic!("{rule}");
    }
    result
}

/// The fate of a thread that is alone.
struct Alone(RefCell<Box<dyn FnMut(Place) -> bool>>);

impl Events for Alone {
    fn in_front_of(&self, thread: &Thread, at: Address) {
        let (attempt, step) = (thread.attempts.get().saturating_sub(1), at.step());
        let place = Place { attempt, step: step.text, progress: step.progress, armed: thread.is_armed() };
        if (self.0.borrow_mut())(place) {
            thread.interrupt();
        }
    }

    fn fence(&self, _: &Thread) {}
}
