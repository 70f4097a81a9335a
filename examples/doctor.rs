//! Says whether restartable sequences are in use here, and tests for a second that they are exact.
//! (`cargo rseq doctor` says what to do if they aren't in use.)
//!
//! In the test, more threads than there are CPUs add to per-CPU counters by `rseq!` sections, while
//! they are sent signals whose handler runs the same section, moved from CPU to CPU, and fenced.
//! The sum of the counters must be the number of sections.
//!
//! ```text
//! cargo run --release --example doctor
//! cargo run --release --example doctor -- --seconds 10
//! RSEQ_MODE=portable cargo run --release --example doctor
//! GLIBC_TUNABLES=glibc.pthread.rseq=0 cargo run --release --example doctor
//! ```

mod common;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use common::grouped;
use rseq::{CpuId, PerCpu, Status, fence, rseq};

/// Reports on restartable sequences on this machine, and tests them.
///
/// The exit code is 1 if the test loses or invents an update.
#[derive(Parser)]
struct Arguments {
    /// How long to test
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Report alone
    #[arg(long)]
    no_test: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The counters of the test.
static COUNTS: PerCpu<AtomicU64> = PerCpu::new();

/// Adds 1 to the current CPU's counter. Gives the number of aborts on the way.
pub fn increment() -> u64 {
    let mut aborts = 0;
    rseq! {
        prepare |cpu| {
            let count = &COUNTS[cpu];
            let next = count.load(Relaxed) + 1;
        }
        commit store(count, next)
        abort { aborts += 1; }
    }
    aborts
}

/// Sections that were run, and their aborts.
#[derive(Default)]
struct Tally {
    sections: AtomicU64,
    aborts: AtomicU64,
}

impl Tally {
    fn add(&self, sections: u64, aborts: u64) {
        self.sections.fetch_add(sections, Relaxed);
        self.aborts.fetch_add(aborts, Relaxed);
    }
}

static BY_THREADS: Tally = Tally { sections: AtomicU64::new(0), aborts: AtomicU64::new(0) };
static BY_HANDLERS: Tally = Tally { sections: AtomicU64::new(0), aborts: AtomicU64::new(0) };

/// A thread of the test, until the time is over.
fn work(until: Instant) {
    const BATCH: u64 = 64;
    let (mut sections, mut aborts) = (0, 0);
    while {
        aborts += (0..BATCH).map(|_| increment()).sum::<u64>();
        sections += BATCH;
        Instant::now() < until
    } {}
    BY_THREADS.add(sections, aborts);
}

cfg_select! {
    target_os = "linux" => {
        /// Linux's own ways to disturb threads.
        mod system {
            use std::mem::{self, MaybeUninit};
            use std::ptr;

            /// A thread, as the kernel knows it.
            pub type Thread = libc::pid_t;

            pub fn current_thread() -> Thread {
                // SAFETY: has no precondition.
                unsafe { libc::gettid() }
            }

            const SIGNAL: libc::c_int = libc::SIGUSR1;

            /// Runs a section on top of whatever the thread is doing, a section included.
            extern "C" fn handle(_: libc::c_int) {
                // errno belongs to the code that was interrupted, which must find it unchanged.
                // SAFETY: has no precondition; the address is that of the calling thread's errno.
                let errno = unsafe { libc::__errno_location() };
                // SAFETY: as above, and no reference to errno exists.
                let before = unsafe { *errno };
                super::BY_HANDLERS.add(1, super::increment());
                // SAFETY: as above.
                unsafe { *errno = before };
            }

            /// The handler, in force until this is dropped.
            pub struct Handler(libc::sigaction);

            impl Handler {
                pub fn install() -> Option<Self> {
                    // SAFETY: a structure of numbers and a handler address, for which zeroes are
                    // valid: no flags, an empty mask.
                    let mut action: libc::sigaction = unsafe { mem::zeroed() };
                    action.sa_sigaction = handle as *const () as libc::sighandler_t;
                    action.sa_flags = libc::SA_RESTART;
                    let mut before = MaybeUninit::uninit();
                    // SAFETY: reads one structure and writes the other. The handler only does what
                    // is allowed in one: it uses atomics and sections, and leaves errno as it was.
                    let result = unsafe { libc::sigaction(SIGNAL, &action, before.as_mut_ptr()) };
                    // SAFETY: the call succeeded, so it wrote the structure.
                    (result == 0).then(|| Self(unsafe { before.assume_init() }))
                }
            }

            impl Drop for Handler {
                fn drop(&mut self) {
                    // SAFETY: puts back what `install` found.
                    unsafe { libc::sigaction(SIGNAL, &self.0, ptr::null_mut()) };
                }
            }

            /// Sends the signal to a thread of this process. The caller holds the `Handler`. Says
            /// whether there is such a thread.
            pub fn signal(thread: Thread) -> bool {
                // SAFETY: takes no pointer.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) == 0 }
            }

            /// A set of CPUs to run on.
            #[derive(Clone, Copy)]
            pub struct Cpus(libc::cpu_set_t);

            impl Cpus {
                fn none() -> Self {
                    // SAFETY: an array of bits.
                    Self(unsafe { mem::zeroed() })
                }

                /// Those that the calling thread may run on; none if they can't be told.
                pub fn allowed() -> Self {
                    let mut cpus = Self::none();
                    // SAFETY: writes to the structure, as far as its size.
                    unsafe { libc::sched_getaffinity(0, size_of_val(&cpus.0), &mut cpus.0) };
                    cpus
                }

                fn only(cpu: usize) -> Self {
                    let mut cpus = Self::none();
                    // SAFETY: the index comes from `each`, so it lies in the set.
                    unsafe { libc::CPU_SET(cpu, &mut cpus.0) };
                    cpus
                }

                /// One set for each CPU of this one.
                pub fn each(&self) -> Vec<Self> {
                    // SAFETY: the index lies in the set.
                    let contains = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &self.0) };
                    (0..libc::CPU_SETSIZE as usize).filter(contains).map(Self::only).collect()
                }

                /// Has a thread run on these. Says whether it does.
                pub fn assign(&self, thread: Thread) -> bool {
                    // SAFETY: reads the structure, as far as its size.
                    unsafe { libc::sched_setaffinity(thread, size_of_val(&self.0), &self.0) == 0 }
                }
            }
        }
    }
    _ => {
        /// Nothing to disturb threads with, where there is no Linux.
        mod system {
            pub type Thread = ();

            pub fn current_thread() -> Thread {}

            pub struct Handler;

            impl Handler {
                pub fn install() -> Option<Self> {
                    None
                }
            }

            pub fn signal((): Thread) -> bool {
                false
            }

            pub struct Cpus;

            impl Cpus {
                pub fn allowed() -> Self {
                    Self
                }

                pub fn each(&self) -> Vec<Self> {
                    Vec::new()
                }

                pub fn assign(&self, (): Thread) -> bool {
                    false
                }
            }
        }
    }
}

use system::{Cpus, Handler, Thread};

/// Disturbances of the others by the main thread, and how often they were.
struct Disturbance {
    handler: Option<Handler>,
    allowed: Cpus,
    single: Vec<Cpus>,
    rounds: usize,
    signals: u64,
    moves: u64,
    fences: u64,
}

impl Disturbance {
    fn prepare() -> Self {
        let allowed = Cpus::allowed();
        let single = allowed.each();
        Self { handler: Handler::install(), allowed, single, rounds: 0, signals: 0, moves: 0, fences: 0 }
    }

    /// Disturbs the threads, which must be alive, again and again until the time is over, and
    /// leaves them free to run on any CPU.
    fn go_on(&mut self, threads: &[Thread], until: Instant) {
        while Instant::now() < until {
            self.once(threads);
            self.rounds += 1;
        }
        for thread in threads {
            self.allowed.assign(*thread);
        }
    }

    /// Signals to every thread; now and then, because they take longer, a thread moved or a fence.
    fn once(&mut self, threads: &[Thread]) {
        const MOVE: usize = 16;
        const FENCE: usize = 4 * MOVE;
        if self.handler.is_some() {
            self.signals += threads.iter().filter(|thread| system::signal(**thread)).count() as u64;
        }
        if self.rounds.is_multiple_of(MOVE) {
            self.move_thread(threads, self.rounds / MOVE);
        }
        if self.rounds % FENCE == FENCE / 2 + 1 {
            self.fence(self.rounds / FENCE);
        }
    }

    /// Moves one thread to one CPU; which ones depends on `turn`.
    fn move_thread(&mut self, threads: &[Thread], turn: usize) {
        if self.single.len() > 1 {
            let cpu = &self.single[turn / threads.len() % self.single.len()];
            self.moves += u64::from(cpu.assign(threads[turn % threads.len()]));
        }
    }

    /// Fences every slot and all slots in turn.
    fn fence(&mut self, turn: usize) {
        let fenced = CpuId::new(turn % (rseq::slots() + 1)).map_or_else(fence::all, fence::cpu);
        self.fences += u64::from(fenced.is_ok());
    }
}

/// The test's result.
struct Outcome {
    threads: usize,
    elapsed: Duration,
    /// The counters' values, by slot.
    counted: Vec<u64>,
    disturbance: Disturbance,
}

impl Outcome {
    fn is_exact(&self) -> bool {
        let sections = BY_THREADS.sections.load(Relaxed) + BY_HANDLERS.sections.load(Relaxed);
        self.counted.iter().sum::<u64>() == sections
    }
}

/// Runs the test.
fn test(time: Duration) -> Outcome {
    let threads = 2 * common::available_cpus() + 1;
    let mut disturbance = Disturbance::prepare();
    // The first use, which allocates, belongs to no handler.
    let counters = COUNTS.iter();
    let start = Instant::now();
    let until = start + time;
    // Whom the main thread disturbs, it must find alive.
    let end = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for sender in vec![sender; threads] {
            let end = &end;
            scope.spawn(move || {
                // Fails only if the main thread has gone, which waits for this one.
                let _ = sender.send(system::current_thread());
                work(until);
                end.wait();
            });
        }
        disturbance.go_on(&receiver.iter().take(threads).collect::<Vec<_>>(), until);
        end.wait();
    });
    let counted = counters.map(|count| count.load(Relaxed)).collect();
    Outcome { threads, elapsed: start.elapsed(), counted, disturbance }
}

fn write_test(out: &mut impl Write, outcome: &Outcome, status: &Status) -> io::Result<()> {
    let Outcome { threads, elapsed, counted, disturbance } = outcome;
    let aborts = BY_THREADS.aborts.load(Relaxed) + BY_HANDLERS.aborts.load(Relaxed);
    let lines = [
        ("sections in threads", BY_THREADS.sections.load(Relaxed)),
        ("sections in handlers", BY_HANDLERS.sections.load(Relaxed)),
        ("aborts", aborts),
        ("signals sent", disturbance.signals),
        ("affinity changes", disturbance.moves),
        ("fences", disturbance.fences),
        ("sum of the counters", counted.iter().sum()),
    ];
    writeln!(out, "\nself-test: {threads} threads for {:.1} s", elapsed.as_secs_f64())?;
    for (name, count) in lines {
        writeln!(out, "{name:20} {:>16}", grouped(count))?;
    }
    if disturbance.handler.is_none() {
        writeln!(out, "no signals: there is no handler for them on this system")?;
    }
    if disturbance.single.len() < 2 {
        writeln!(out, "no moves: the program may use a single CPU, or can't tell which")?;
    }
    common::write_shares(out, "sections by slot", counted, status)?;
    let verdict = if outcome.is_exact() {
        "exact: every section counted once"
    } else {
        "WRONG: the counters don't add up to the number of sections; please report this with the lines above"
    };
    writeln!(out, "\nverdict: {verdict}")
}

fn write_status(out: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(out, "{status}")?;
    writeln!(out, "usable CPUs:     {}", common::available_cpus())
}

/// Writes the report and, if `time` is given, tests. Says whether the test was exact.
fn report(out: &mut impl Write, time: Option<Duration>) -> (io::Result<()>, bool) {
    let status = rseq::status();
    let written = write_status(out, &status).and_then(|()| out.flush());
    let Some(time) = time else { return (written, true) };
    let outcome = test(time);
    (written.and_then(|()| write_test(out, &outcome, &status)), outcome.is_exact())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (written, exact) = report(&mut io::stdout().lock(), (!arguments.no_test).then_some(arguments.seconds));
    common::exit_code(written, exact)
}
