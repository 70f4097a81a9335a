//! The child: its first thread runs the section, its second one whatever comes in between.

use std::array;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::{self, MaybeUninit};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, Once, PoisonError};

use rseq::CpuId;

use super::super::plan::{Ran, Run, Work};
use super::orders::{Operation, Order, Shared, Stage};
use super::tracee::{be_traced, pin};

/// The CPUs of an exploration: where the section begins, and where else it may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpus {
    pub first: usize,
    pub second: Option<usize>,
}

impl Cpus {
    /// The first two that this process may use.
    pub fn available() -> Option<Self> {
        // SAFETY: zero is an empty set, which the call fills.
        let set = unsafe {
            let mut set: libc::cpu_set_t = mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &mut set);
            set
        };
        // SAFETY: the number is below the size of the set.
        let mut cpus = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
        Some(Self { first: cpus.next()?, second: cpus.next() })
    }
}

/// The most runs of one operation in one child.
const MOST_RUNS: usize = 4;

/// The runs so far, written by one thread while the others stand still.
struct Runs<T> {
    count: AtomicUsize,
    runs: [UnsafeCell<Option<(T, usize)>>; MOST_RUNS],
}

// SAFETY: a thread writes to a place of its own, got from the counter, and the readers come after
// it.
unsafe impl<T: Send + Sync> Sync for Runs<T> {}

impl<T> Runs<T> {
    fn new() -> Self {
        Self { count: AtomicUsize::new(0), runs: array::from_fn(|_| UnsafeCell::new(None)) }
    }

    /// Notes a result, and the CPU of the calling thread. Allocates nothing: a handler may have
    /// interrupted the allocator.
    fn add(&self, value: T) {
        // SAFETY: has no precondition.
        let cpu = unsafe { libc::sched_getcpu() } as usize;
        let place = &self.runs[self.count.fetch_add(1, SeqCst) % MOST_RUNS];
        // SAFETY: the place is this thread's alone, by the counter.
        unsafe { *place.get() = Some((value, cpu)) };
    }

    fn finished(&self) -> impl Iterator<Item = Run<'_, T>> {
        // SAFETY: whoever reads was told to by the explorer, while nothing runs.
        let runs = self.runs.iter().filter_map(|run| unsafe { (*run.get()).as_ref() });
        runs.map(|(value, cpu)| Run { value, cpu: *cpu })
    }
}

/// All that a child has.
struct Child<'w, R, Q> {
    work: &'w Work<'w, R, Q>,
    shared: &'w Shared,
    /// Of the sections, the one that is explored is noted apart.
    explored: Runs<R>,
    sections: Runs<R>,
    conflicts: Runs<Q>,
}

/// Lives in a process that was forked for it, and that is killed in the end.
pub(super) fn run<R: Send + Sync, Q: Send + Sync>(work: &Work<'_, R, Q>, shared: &Shared, cpus: Cpus) -> ! {
    // SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    IS_CHILD.store(true, SeqCst);
    let child = Child { work, shared, explored: Runs::new(), sections: Runs::new(), conflicts: Runs::new() };
    let begun = be_traced() && child.prepare(cpus);
    shared.set_stage(if begun { Stage::Begun } else { Stage::Failed });
    mark();
    if begun {
        let outcome = caught(work.section);
        shared.set_stage(match outcome {
            Ok(value) => {
                child.explored.add(value);
                Stage::Finished
            }
            Err(message) => {
                shared.set_message(&format!("the section panicked: {message}"));
                Stage::Failed
            }
        });
        mark();
    }
    loop {
        // SAFETY: has no precondition.
        unsafe { libc::pause() };
    }
}

/// Stops, so that the explorer sees how far it is.
fn mark() {
    // SAFETY: takes no pointer.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// The process is a child, which notes what panics say.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Has later children note what panics say instead of printing it. They can't see to it themselves:
/// another thread of the parent may have held the lock of the panic hook when it forked.
pub(super) fn note_panics_in_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(
            move |panic| {
                if IS_CHILD.load(SeqCst) { *last_panic() = panic.to_string() } else { print(panic) }
            },
        ));
    });
}

/// The message of the last panic, with its place.
fn last_panic() -> impl std::ops::DerefMut<Target = String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The message of a panic, if there is one.
fn caught<T>(operation: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(operation)).map_err(|_| mem::take(&mut *last_panic()))
}

impl<R: Send + Sync, Q: Send + Sync> Child<'_, R, Q> {
    /// All that comes before the section. Whether it can begin.
    fn prepare(&self, cpus: Cpus) -> bool {
        self.install_handler();
        let second = self.start_second_thread();
        let set_up = caught(|| {
            assert_eq!(second, 0, "the error number of starting a second thread");
            self.shared.wait_for_second_thread().expect("the second thread begins");
            for cpu in cpus.second.into_iter().chain([cpus.first]) {
                pin(0, cpu).expect("the CPU may be used");
                (self.work.setup)();
            }
            // The first use of slots makes a section start again.
            self.sections.add((self.work.section)());
        });
        set_up
            .inspect_err(|message| self.shared.set_message(&format!("before the section was explored: {message}")))
            .is_ok()
    }

    /// Has signals run what the explorer says.
    fn install_handler(&self) {
        /// The handler's work; set before there are signals.
        static HANDLE: AtomicPtr<&(dyn Fn() + Sync)> = AtomicPtr::new(ptr::null_mut());
        extern "C" fn on_signal(_: libc::c_int) {
            // SAFETY: set below to what is never freed.
            unsafe { HANDLE.load(SeqCst).as_ref() }.inspect(|handle| handle());
        }
        let handle: Box<dyn Fn() + Sync + '_> = Box::new(|| self.handle());
        let handle: &(dyn Fn() + Sync + '_) = Box::leak(handle);
        // SAFETY: only its lifetime changes, and what it refers to lives as long as the process.
        let handle: &'static (dyn Fn() + Sync) = unsafe { mem::transmute(handle) };
        HANDLE.store(Box::leak(Box::new(handle)), SeqCst);
        // SAFETY: zero is a valid sigaction; the handler is a function of this program.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            libc::sigaction(SIGNAL, &action, ptr::null_mut());
        }
    }

    fn handle(&self) {
        let outcome = match self.shared.handler() {
            Operation::Section => caught(self.work.section).map(|value| self.sections.add(value)),
            Operation::Conflict => caught(self.work.conflict).map(|value| self.conflicts.add(value)),
        };
        if let Err(message) = &outcome {
            self.shared.set_message(&format!("in a handler: {message}"));
        }
        self.shared.set_stage(if outcome.is_ok() { Stage::Handled } else { Stage::Failed });
        mark();
    }

    /// An error number, or 0.
    ///
    /// Not by the standard library, which takes a lock that another thread of the parent may have
    /// held when it forked.
    fn start_second_thread(&self) -> i32 {
        extern "C" fn run<R: Send + Sync, Q: Send + Sync>(child: *mut c_void) -> *mut c_void {
            // SAFETY: what the other thread passed, which lives as long as the process.
            unsafe { &*child.cast::<Child<'_, R, Q>>() }.carry_out_orders()
        }
        let (mut thread, child) = (MaybeUninit::uninit(), ptr::from_ref(self).cast_mut().cast());
        // SAFETY: the function takes what it is given; the call writes the thread's handle.
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run::<R, Q>, child) }
    }

    /// The second thread's work.
    fn carry_out_orders(&self) -> ! {
        self.shared.set_second_thread();
        loop {
            let Some(order) = self.shared.next_order() else { continue };
            let outcome = caught(|| self.carry_out(order));
            let done = outcome.is_ok();
            self.shared.answer(outcome);
            if let Order::Traced { operation, .. } = order
                && done
            {
                self.run_traced(operation);
            }
        }
    }

    /// Runs an operation between two stops. What comes of it is nobody's business: it is looked at
    /// on its way.
    fn run_traced(&self, operation: Operation) {
        mark();
        let _looked_at = caught(|| match operation {
            Operation::Section => drop((self.work.section)()),
            Operation::Conflict => drop((self.work.conflict)()),
        });
        mark();
    }

    fn carry_out(&self, order: Order) {
        match order {
            Order::Conflict { cpu } => {
                pin(0, cpu).expect("the CPU may be used");
                self.conflicts.add((self.work.conflict)());
            }
            Order::Fence { cpu, from } => {
                pin(0, from).expect("the CPU may be used");
                let cpu = CpuId::new(cpu).expect("every CPU has a slot");
                rseq::fence::cpu(cpu).expect("the kernel has fences");
            }
            Order::Traced { cpu, .. } => {
                pin(0, cpu).expect("the CPU may be used");
                self.shared.set_second_area(rseq::__private::area().addr() as u64);
                assert!(be_traced(), "a second thread may be traced");
            }
            Order::Check { section } => {
                let explored = section.into_iter().zip(self.explored.finished());
                let explored = explored.map(|(cpu, run)| Run { cpu, ..run });
                let sections = self.sections.finished().chain(explored).collect();
                (self.work.check)(&Ran { sections, conflicts: self.conflicts.finished().collect() });
            }
        }
    }
}

/// The signal whose handler runs an operation.
pub(super) const SIGNAL: i32 = libc::SIGUSR1;
