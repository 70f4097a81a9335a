//! Parts of several tests: threads that are disturbed in every way while they count, processes in
//! other modes, sections at every instruction, and programs that are built for a test.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{io, ptr, thread};

pub mod crates;
pub mod explored;
pub mod fixture;
pub mod items;
pub mod pages;
pub mod seccomp;

/// A way to count, whose sum tells whether it is exact.
#[derive(Clone, Copy)]
pub struct Count {
    /// Adds one, after `spin` turns of a loop in `prepare`.
    pub add: fn(spin: u32),
    /// Begins an addition and leaves it early, by `return`.
    pub leave: fn(),
    /// The sum over all slots.
    pub sum: fn() -> u64,
    /// The additions that aborted.
    pub aborts: fn() -> u64,
}

/// Disturbances of threads while they count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disturbance {
    /// More threads than CPUs.
    Preemption,
    /// Signals, whose handler counts too.
    Signals,
    /// Signals, whose handler counts and then leaves another section early.
    SignalsLeftEarly,
    /// Signals, whose handler counts and then panics out of another section.
    SignalsPanicking,
    /// Moves from CPU to CPU.
    Migration,
    /// Fences.
    Fences,
}

/// The count that a run should have, and the one that it has.
#[derive(Debug)]
pub struct Outcome {
    /// By what the threads and the handlers did.
    pub expected: u64,
    /// By the sum of the slots.
    pub counted: u64,
    /// The sections that were aborted.
    pub aborts: u64,
}

impl Outcome {
    /// The updates that are missing.
    pub fn lost(&self) -> i64 {
        self.expected.wrapping_sub(self.counted).cast_signed()
    }
}

/// Steps that threads go through together, until they end, also by a panic of the test: one that
/// fails must not hang.
#[derive(Default)]
pub struct Steps {
    step: AtomicUsize,
    end: AtomicBool,
}

impl Steps {
    /// Lets the threads take the next step.
    pub fn advance(&self) {
        self.step.fetch_add(1, SeqCst);
    }

    /// The next step after `seen`, as soon as there is one; `None` at the end.
    pub fn after(&self, seen: usize) -> Option<usize> {
        loop {
            match self.step.load(SeqCst) {
                _ if self.has_ended() => return None,
                step if step > seen => return Some(seen + 1),
                _ => thread::yield_now(),
            }
        }
    }

    /// `true` if nobody takes steps any more.
    pub fn has_ended(&self) -> bool {
        self.end.load(Relaxed)
    }

    /// Ends them when the result is dropped.
    pub fn until_dropped(&self) -> impl Drop + '_ {
        struct End<'s>(&'s Steps);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.end.store(true, SeqCst);
            }
        }
        End(self)
    }
}

/// How many times slower than a machine of today the one is that runs the tests:
/// `RSEQ_TEST_SLOWNESS`, or 1. An emulator needs it: tests that take their strength from many
/// repetitions repeat less, and disturb less often, because a thread that is interrupted faster
/// than it handles that gets nowhere.
pub fn slowness() -> u32 {
    std::env::var("RSEQ_TEST_SLOWNESS").map_or(1, |text| text.parse().expect("RSEQ_TEST_SLOWNESS is a number"))
}

/// How many times less is repeated than on a machine of today: as often as it is slower, and
/// `RSEQ_TEST_SHORTER` times more than that. Controls repeat as often as it is slower, because they
/// must lose something.
pub fn shorter() -> u64 {
    let shorter = std::env::var("RSEQ_TEST_SHORTER");
    let shorter = shorter.map_or(1, |text| text.parse().expect("RSEQ_TEST_SHORTER is a number"));
    u64::from(slowness()).saturating_mul(shorter)
}

/// A pause, longer on a slow machine.
pub fn pause(time: Duration) {
    thread::sleep(time * slowness());
}

/// Twice the CPUs, and enough of them on any machine.
pub fn threads() -> usize {
    (2 * thread::available_parallelism().map_or(2, usize::from)).max(8)
}

/// The signal handler's work; one run at a time uses it.
static HANDLER: AtomicPtr<fn()> = AtomicPtr::new(ptr::null_mut());
/// Held while threads are disturbed, or what they count is looked at, because signals and sums are
/// the process's. Whoever waits for something
/// to happen to its threads begins to do so when it has this.
pub fn one_run() -> MutexGuard<'static, ()> {
    static ONE_RUN: Mutex<()> = Mutex::new(());
    ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The thread counts: a handler may do so too. Initialised before signals come.
    static COUNTING: AtomicBool = const { AtomicBool::new(false) };
}

extern "C" fn on_signal(_: libc::c_int) {
    if COUNTING.with(|counting| counting.load(Relaxed)) {
        // SAFETY: set by `disturbed` to a function pointer that lives until all threads have ended.
        unsafe { HANDLER.load(Relaxed).as_ref() }.inspect(|handler| handler());
    }
}

/// Has the handler run for SIGUSR1.
pub fn handle_signals(handler: extern "C" fn(libc::c_int)) {
    // SAFETY: zero is a valid sigaction; the handlers of the tests touch nothing that they might
    // interrupt halfway.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()), 0);
    }
}

/// Lets [`threads`] threads add `each` times while `disturbance` goes on, and handlers add on top
/// of that. One of `long` additions takes long. The caller has [`one_run`].
fn disturbed(count: Count, disturbance: Disturbance, each: u64, long: u64) -> Outcome {
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    /// The functions for the handler, which can take no lock.
    static ADD: AtomicUsize = AtomicUsize::new(0);
    static LEAVE: AtomicUsize = AtomicUsize::new(0);

    fn add() {
        // SAFETY: stored below from such a function.
        let add: fn(u32) = unsafe { std::mem::transmute(ADD.load(Relaxed)) };
        add(0);
        HANDLED.fetch_add(1, Relaxed);
    }
    fn leave() {
        // SAFETY: stored below from such a function.
        let leave: fn() = unsafe { std::mem::transmute(LEAVE.load(Relaxed)) };
        leave();
    }
    fn add_and_leave() {
        add();
        leave();
    }

    let before = ((count.sum)(), (count.aborts)());
    HANDLED.store(0, SeqCst);
    ADD.store(count.add as usize, SeqCst);
    LEAVE.store(count.leave as usize, SeqCst);
    let handler: fn() = if disturbance == Disturbance::Signals { add } else { add_and_leave };
    HANDLER.store((&raw const handler).cast_mut(), SeqCst);
    handle_signals(on_signal);

    let running = AtomicUsize::new(threads());
    let ids: Vec<AtomicU64> = (0..threads()).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for id in &ids {
            let running = &running;
            scope.spawn(move || {
                COUNTING.with(|counting| counting.store(true, SeqCst));
                // SAFETY: has no precondition.
                id.store(unsafe { libc::pthread_self() } as u64, SeqCst);
                for turn in 0..each {
                    (count.add)(if turn % long == 0 { 400 } else { 0 });
                }
                COUNTING.with(|counting| counting.store(false, SeqCst));
                // From here on nobody signals this thread; one that is on its way finds nothing to
                // do.
                id.store(0, SeqCst);
                running.fetch_sub(1, SeqCst);
                while running.load(SeqCst) > 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let mut turn = 0;
        while running.load(SeqCst) > 0 {
            disturb(disturbance, &ids, turn);
            turn += 1;
        }
    });
    HANDLER.store(ptr::null_mut(), SeqCst);
    Outcome {
        expected: threads() as u64 * each + HANDLED.load(SeqCst),
        counted: (count.sum)() - before.0,
        aborts: (count.aborts)() - before.1,
    }
}

/// One round of disturbance.
fn disturb(disturbance: Disturbance, ids: &[AtomicU64], turn: usize) {
    match disturbance {
        Disturbance::Preemption => pause(Duration::from_millis(5)),
        Disturbance::Signals | Disturbance::SignalsLeftEarly | Disturbance::SignalsPanicking => {
            each_thread(ids, |thread, _| {
                // SAFETY: the thread waits for all others to finish before it ends, so its id is
                // valid.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            });
            pause(Duration::from_micros(100));
        }
        Disturbance::Migration => {
            let cpus = available_cpus();
            each_thread(ids, |thread, index| pin(thread, &[cpus[(turn + index) % cpus.len()]]));
            pause(Duration::from_micros(300));
        }
        Disturbance::Fences => {
            rseq::fence::all().expect("the kernel has fences");
            for cpu in available_cpus() {
                rseq::fence::cpu(rseq::CpuId::new(cpu).expect("the CPU has a slot")).expect("the kernel has fences");
            }
            pause(Duration::from_micros(50));
        }
    }
}

fn each_thread(ids: &[AtomicU64], act: impl Fn(libc::pthread_t, usize)) {
    for (index, id) in ids.iter().enumerate() {
        match id.load(SeqCst) {
            0 => {}
            thread => act(thread as libc::pthread_t, index),
        }
    }
}

/// The CPUs that the process may run on.
pub fn available_cpus() -> Vec<usize> {
    // SAFETY: zero is an empty set, which the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Lets a thread run on these CPUs alone.
pub fn pin(thread: libc::pthread_t, cpus: &[usize]) {
    // SAFETY: zero is an empty set; the thread is alive.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::pthread_setaffinity_np(thread, size_of_val(&set), &set);
    }
}

/// Lets the calling thread run on these CPUs alone.
pub fn run_on(cpus: &[usize]) {
    // SAFETY: has no precondition.
    pin(unsafe { libc::pthread_self() }, cpus);
}

/// Runs `work` in a thread that stays on this CPU.
pub fn on<R: Send>(cpu: usize, work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            run_on(&[cpu]);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// One addition of so many takes long.
const SOMETIMES: u64 = 32;

/// Counts under a disturbance, `each` times in every thread (fewer on a slow machine), and finds
/// nothing lost. With `aborts`, until sections were aborted: a run that disturbed nothing proves
/// nothing. (In portable mode hardly anything but a handler aborts a section.)
pub fn must_be_exact(count: Count, disturbance: Disturbance, each: u64, aborts: bool) {
    let _run = one_run();
    let end = Instant::now() + Duration::from_secs(60);
    let mut disturbed_once = false;
    while !disturbed_once {
        let outcome = disturbed(count, disturbance, (each / shorter()).max(1), SOMETIMES);
        println!("{disturbance:?}: {outcome:?}");
        assert_eq!(outcome.lost(), 0, "{disturbance:?}: {outcome:?}");
        disturbed_once = outcome.aborts > 0 || !aborts;
        assert!(disturbed_once || Instant::now() < end, "nothing was disturbed, so nothing is proven");
    }
}

/// The same by a control, if its sections run restartably: it must lose some.
pub fn must_lose(count: Count, disturbance: Disturbance, each: u64, restartable: bool) {
    // Without a second CPU nothing moves.
    if restartable && (disturbance != Disturbance::Migration || several_cpus()) {
        let each = each / u64::from(slowness());
        // A move does harm in the midst of a long one, and has to meet a short one elsewhere.
        let long = if disturbance == Disturbance::Migration { 2 } else { SOMETIMES };
        let _run = one_run();
        must_fail(|| disturbed(count, disturbance, each, long).lost() != 0);
    }
}

/// Far more than it takes, for machines that are busy with something else.
const PATIENCE: Duration = Duration::from_secs(300);

/// Repeats runs of a control until one fails. A control that doesn't fail within the time shows
/// that the test proves nothing.
pub fn must_fail(mut fails: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if fails() {
            return;
        }
    }
    panic!("the control didn't fail: this test would not notice a broken protocol");
}

/// The mode of this process. A test that runs another one in a process of its own says which mode
/// it expects there.
pub fn mode() -> rseq::Mode {
    let mode = rseq::status().mode();
    match std::env::var(EXPECTED_MODE) {
        Ok(expected) if is_the_only_one(mode, &expected) => {
            println!("in the one mode that there is, {mode:?}, instead of {expected}");
        }
        Ok(expected) => assert_eq!(format!("{mode:?}"), expected),
        Err(_) => {}
    }
    mode
}

/// `true` if this build, or this kernel, has no other mode.
fn is_the_only_one(mode: rseq::Mode, expected: &str) -> bool {
    match mode {
        rseq::Mode::Portable(rseq::Reason::NotBuilt) => true,
        rseq::Mode::Portable(rseq::Reason::BrokenKernel) => expected.starts_with("Rseq("),
        _ => false,
    }
}

const EXPECTED_MODE: &str = "RSEQ_TEST_EXPECTS_MODE";

/// `true` if sections are restartable here; says so if they aren't and a test, or part of it, is
/// therefore skipped.
pub fn restartable() -> bool {
    let mode = mode();
    let restartable = matches!(mode, rseq::Mode::Rseq(_));
    if !restartable {
        println!("skipped: needs restartable sequences, and the mode is {mode:?}");
    }
    restartable
}

/// `true` if threads run at the same time here; says so if a test is therefore skipped. On one CPU
/// whoever else runs has interrupted the section, as a fence would.
pub fn several_cpus() -> bool {
    let several = available_cpus().len() > 1;
    if !several {
        println!("skipped: needs two CPUs, and here is one");
    }
    several
}

/// The path of a test in the calling module, as [`this_test`] takes it.
#[macro_export]
macro_rules! here {
    ($name:literal) => {
        concat!(module_path!(), "::", $name)
    };
}

/// The test executable again, for the test at this path ([`here`]) in a process of its own.
fn again(path: &str) -> Command {
    let (_executable, name) = path.split_once("::").expect("a path in the executable");
    let mut command = Command::new(std::env::current_exe().expect("the executable has a path"));
    command.args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// The same, where the mode must be this one.
pub fn this_test(path: &str, mode: &str) -> Command {
    let mut command = again(path);
    command.env(EXPECTED_MODE, mode);
    // Its mode is that one, whatever this process's is.
    command.env_remove("RSEQ_MODE").env_remove("GLIBC_TUNABLES");
    command
}

/// The same without libc's registration, so that this crate registers its threads.
pub fn with_own_registration(path: &str) -> Command {
    let mut command = this_test(path, "Rseq(Own)");
    command.env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
    command
}

/// The same in portable mode, because that is forced.
pub fn forced_portable(path: &str) -> Command {
    let mut command = this_test(path, "Portable(Forced)");
    command.env("RSEQ_MODE", "portable");
    command
}

/// The same in portable mode, because a filter refuses the system call.
pub fn refused(path: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = this_test(path, "Portable(Refused(1))");
    // SAFETY: makes two system calls and allocates nothing.
    unsafe { command.pre_exec(|| seccomp::refuse_rseq(libc::EPERM)) };
    command
}

/// Has the test of this name in the calling module go on in a process of its own: this one runs it
/// there, and returns. So explorations run side by side, and fork a small process: each instruction
/// takes several forks, and these take long where other tests have left much memory.
#[macro_export]
macro_rules! alone {
    ($name:literal) => {
        if !$crate::is_alone($crate::here!($name)) {
            return;
        }
    };
}

/// `true` in a process that the test at this path has to itself; elsewhere such a process runs it,
/// and must pass.
pub fn is_alone(path: &str) -> bool {
    const ALONE: &str = "RSEQ_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = again(path);
    command.env(ALONE, "");
    println!("{}", must_pass(command));
    false
}

/// Runs tests of a module (`module_path!()`) again, each in a process of its own.
pub fn in_processes(module: &str, command: fn(&str) -> Command, names: &[&str]) {
    for name in names {
        must_pass(command(&format!("{module}::{name}")));
    }
}

/// Runs the command and shows what it printed if it failed, or ran no test.
pub fn must_pass(mut command: Command) -> String {
    let output = command.output().expect("the test executable can be run");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "{command:?} ran no test:\n{text}");
    text
}

/// The child's exit code: 0 if `check` held, 1 if not or if it panicked, 2 if it took too long.
pub fn in_child(check: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child calls nothing but sections and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // A panic mustn't get out: the child would end as a thread of the test does, and well.
        let held = panic::catch_unwind(AssertUnwindSafe(check)).unwrap_or(false);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    let end = Instant::now() + Duration::from_secs(20);
    let mut status = 0;
    // SAFETY: waits for the child made above, which nobody else does.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > end {
            // SAFETY: the child above, not waited for yet.
            unsafe { libc::kill(child, libc::SIGKILL) };
            return 2;
        }
        thread::sleep(Duration::from_micros(200));
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}

/// `true` if `check` holds in a thread that a child of `fork` starts. Not by the standard library,
/// which takes a lock that another thread of the parent may have held when it forked.
pub fn in_thread_of_child(check: fn() -> bool) -> bool {
    extern "C" fn run(check: *mut c_void) -> *mut c_void {
        // SAFETY: points to the argument below, until the thread is through.
        let check = unsafe { *check.cast::<fn() -> bool>() };
        ptr::without_provenance_mut(panic::catch_unwind(check).unwrap_or(false).into())
    }
    let (mut thread, mut held) = (MaybeUninit::uninit(), ptr::null_mut());
    let argument = (&raw const check).cast_mut().cast();
    // SAFETY: the argument lives until the thread is waited for, whose handle was written if it was
    // started.
    unsafe {
        libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run, argument) == 0
            && libc::pthread_join(thread.assume_init(), &mut held) == 0
            && !held.is_null()
    }
}

/// The error number of a raw system call's result.
pub fn outcome(result: libc::c_long) -> Result<(), i32> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// A panic: where it was, and its message.
#[derive(Clone, Debug)]
pub struct Panic {
    /// The file, as `file!()` names it.
    pub file: String,
    /// The line, as `line!()` does.
    pub line: u32,
    /// The message.
    pub message: String,
}

/// The panic that this ends in, if it does. It isn't printed.
pub fn panic_of(work: impl FnOnce()) -> Option<Panic> {
    thread_local! {
        static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
        static SEEN: RefCell<Option<Panic>> = const { RefCell::new(None) };
    }
    // Once, because other threads may panic meanwhile: the hook is the process's.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| match info.location() {
            Some(place) if IS_EXPECTED.get() => {
                let message = info.payload_as_str().unwrap_or_default().to_owned();
                SEEN.set(Some(Panic { file: place.file().to_owned(), line: place.line(), message }));
            }
            _ => print(info),
        }));
    });
    IS_EXPECTED.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    IS_EXPECTED.set(false);
    outcome.err().map(|_| SEEN.take().expect("a panic tells the hook"))
}
