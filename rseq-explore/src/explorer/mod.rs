//! Interrupts a section at every instruction.

mod plan;
mod report;
// Not by `cfg_select!`, into which rustfmt doesn't look for modules.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
mod trace;

use std::sync::{Mutex, PoisonError};

use rseq::Mode;

pub use self::plan::{Event, Ran, Run};
use self::plan::{Plan, Work};
pub use self::report::{Failure, Phase, Report};

/// Interrupts a section at each of its instructions and panics if that goes wrong anywhere.
///
/// `section` runs one section (or several), `conflict` an operation on the same slots that must not
/// get lost, and `check` panics if what is there isn't what came of the operations that it is told
/// of. See [`Explorer`] for how it goes on, and for more control.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use rseq::{PerCpu, rseq};
///
/// static HITS: PerCpu<AtomicU64> = PerCpu::new();
///
/// fn hit() {
///     rseq! { commit |cpu| add(&HITS[cpu], 1) }
/// }
///
/// let hits = || HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>();
/// rseq_explore::explore(hit, hit, |ran| assert_eq!(hits(), ran.total() as u64));
/// ```
///
/// # Panics
/// With a list of what went wrong and where; if the closure ran no section; and if the system
/// refuses to trace a child.
pub fn explore<R: Send + Sync, Q: Send + Sync>(
    section: impl Fn() -> R + Sync,
    conflict: impl Fn() -> Q + Sync,
    check: impl Fn(&Ran<'_, R, Q>) + Sync,
) -> Report {
    Explorer::new(&section, &conflict, &check).run()
}

/// An exploration: one section, interrupted at every instruction in every way.
///
/// 1. The instructions are found by running the section under `ptrace(2)`: from the one that arms
///    it, through `prepare` and the window, to the one behind the one that disarms it, with the
///    descriptors in the program's ELF file to tell what is a window.
/// 2. While a thread stands in front of each commit, another one runs the section, and the
///    conflicting operation, on another CPU up to its own: both must not be about to store to one
///    place, for nothing would keep them apart. (Sections by concurrency ids may have the same one
///    then: of those the model knows more.)
/// 3. For each instruction and each [`Event`] a child is forked, stopped there for the first time
///    that it comes by, and the event happens.
///    - Before the commit the explorer demands that nothing was published: `check` must hold with
///      the section not counted. In the window the next instruction must be the abort handler's; in
///      `prepare` the attempt must end without a commit.
///    - Behind the commit, that it isn't repeated: `check` must hold in the end with the section
///      counted once.
///    - At every stop the descriptor in force must be one that the kernel accepts and cover one
///      window, whole; at the end there must be none.
/// 4. A [`Report`] says what was covered.
///
/// The closures run in a copy of the process that has just the calling thread: they must not wait
/// for others, nor start any (the standard library takes a lock for that, which another thread may
/// have held). Each child begins with the memory as it is now, with `setup`, and with one run of
/// the section that nothing interrupts, because the first use of slots makes a section start again.
/// The changes that a child makes are gone with it.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use rseq::{PerCpu, rseq};
/// use rseq_explore::{Explorer, Ran};
///
/// #[derive(Default)]
/// struct Stack { len: AtomicUsize, items: [AtomicUsize; 8] }
///
/// static STACKS: PerCpu<Stack> = PerCpu::new();
///
/// fn push() {
///     // SAFETY: the length is compared with the number of items.
///     unsafe {
///         rseq! {
///             critical |cpu| {
///                 let len = load(&STACKS[cpu].len);
///                 if len == 8 { exit () }
///                 store(&STACKS[cpu].items[len], 7);
///             }
///             commit add(&STACKS[cpu].len, 1)
///         }
///     }
/// }
///
/// fn pop() -> Option<usize> {
///     // SAFETY: there are `len` items.
///     unsafe {
///         rseq! {
///             critical |cpu| {
///                 let len = load(&STACKS[cpu].len);
///                 if len == 0 { exit None }
///                 let last = len - 1;
///                 let item = load(&STACKS[cpu].items[last]);
///             }
///             commit store(&STACKS[cpu].len, last)
///             => Some(item)
///         }
///     }
/// }
///
/// // Each child begins with three items on each CPU, of which nothing is lost while one pops and
/// // others push.
/// let cpus = AtomicUsize::new(0);
/// let fill = || {
///     cpus.fetch_add(1, Relaxed);
///     (0..3).for_each(|_| push());
/// };
/// let check = |ran: &Ran<'_, Option<usize>, ()>| {
///     let there: usize = STACKS.iter().map(|stack| stack.len.load(Relaxed)).sum();
///     assert_eq!(there, 3 * cpus.load(Relaxed) + ran.conflicts.len() - ran.sections.len());
///     assert!(ran.sections.iter().all(|run| *run.value == Some(7)));
/// };
/// let report = Explorer::new(&pop, &push, &check).setup(&fill).name("pop").run();
/// println!("{report}");
/// ```
///
/// # Where it works
/// On x86-64 Linux, if sections are restartable there and a process may trace its children.
/// Elsewhere it does nothing, and its report says why.
pub struct Explorer<'w, R, Q> {
    plan: Plan<'w, R, Q>,
}

impl<'w, R: Send + Sync, Q: Send + Sync> Explorer<'w, R, Q> {
    /// See [`explore`].
    pub fn new(
        section: &'w (dyn Fn() -> R + Sync),
        conflict: &'w (dyn Fn() -> Q + Sync),
        check: &'w (dyn Fn(&Ran<'_, R, Q>) + Sync),
    ) -> Self {
        let work = Work { section, conflict, check, setup: &|| {} };
        Self { plan: Plan { work, events: Event::ALL.to_vec(), name: String::new(), to_the_end: true } }
    }

    /// Runs first in every child, once on each CPU that the section may use: it can fill their
    /// slots.
    #[must_use]
    pub fn setup(mut self, setup: &'w (dyn Fn() + Sync)) -> Self {
        self.plan.work.setup = setup;
        self
    }

    /// The section's name in the report.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = name.into();
        self
    }

    /// Only these events.
    #[must_use]
    pub fn events(mut self, events: &[Event]) -> Self {
        self.plan.events = events.to_vec();
        self
    }

    /// Stops at the first case that goes wrong: for negative controls.
    #[must_use]
    pub fn until_failure(mut self) -> Self {
        self.plan.to_the_end = false;
        self
    }

    /// Explores the section.
    ///
    /// # Panics
    /// As [`explore`].
    pub fn run(self) -> Report {
        let report = self.try_run();
        assert!(report.failures().is_empty(), "{report}");
        report
    }

    /// Explores the section; what went wrong is in the report.
    ///
    /// # Panics
    /// If the system refuses to trace a child.
    pub fn try_run(self) -> Report {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Report::new(&self.plan.name);
        if let Mode::Portable(reason) = rseq::status().mode() {
            report.skip(format!("sections aren't restartable here: {reason}"));
            return report;
        }
        cfg_select! {
            all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64") => trace::explore(&self.plan, &mut report),
            _ => report.skip("the explorer doesn't know this system or architecture".into()),
        }
        report
    }
}
