//! The kernel's effect on a thread whose `rseq_cs` is set, by version: what sections rely on, what
//! their `prepare` must not do, and what kills.
//!
//! A process of its own, because its threads register areas that libc doesn't know, its signals are
//! everybody's, and timers interrupt whatever runs. Needs no section, no architecture and no shared
//! object, so that it runs on any kernel as a static executable. The threads here register areas of
//! their own: where libc would have registered them before, each test runs itself again, in a
//! process in which libc doesn't.
#![cfg(target_os = "linux")]

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::hint::spin_loop;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::{env, io, thread};

use rseq::abi::{AT_RSEQ_FEATURE_SIZE, Descriptor, FLAG_UNREGISTER, ORIGINAL_LENGTH, SLICE_AVAILABLE, SLICE_ENABLED};
use support::{available_cpus, handle_signals, must_pass, outcome, run_on, with_own_registration};

use Event::*;
use Then::{Cleared, Stays};

/// Events of a thread, while its instruction pointer is outside of what its descriptor
/// covers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Event {
    Preempted,
    Signalled,
    FaultThatSleeps,
    Migrated,
    Fenced,
    Tick,
    FaultThatDoesNot,
    Call,
    CallThatWaits,
    CallThatSleeps,
    CallThatYields,
}

/// The fate of `rseq_cs`.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Then {
    Cleared,
    Stays,
}

/// The expected outcome, by [`column`]. (arm64 from 6.19 up to 7.0.13 neither clears nor aborts:
/// restartable sequences are broken there.)
#[rustfmt::skip]
const TABLE: [(Event, [Then; 3]); 11] = [
    //                  before 6.19  since 6.19  broken
    (Preempted,        [Cleared,     Cleared,    Stays]),
    (Signalled,        [Cleared,     Cleared,    Stays]),
    (FaultThatSleeps,  [Cleared,     Cleared,    Stays]),
    (Migrated,         [Cleared,     Cleared,    Stays]),
    (Fenced,           [Cleared,     Cleared,    Stays]),
    (Tick,             [Stays,       Stays,      Stays]),
    (FaultThatDoesNot, [Stays,       Stays,      Stays]),
    (Call,             [Stays,       Stays,      Stays]),
    (CallThatWaits,    [Cleared,     Stays,      Stays]),
    (CallThatSleeps,   [Cleared,     Stays,      Stays]),
    (CallThatYields,   [Cleared,     Stays,      Stays]),
];

/// Columns of [`TABLE`].
const BEFORE_6_19: usize = 0;
const SINCE_6_19: usize = 1;
const BROKEN: usize = 2;

/// 6.19 looks at `rseq_cs` only where a thread entered the kernel by an interrupt or exception,
/// which it knows where the architecture uses the generic code for that
/// (`CONFIG_GENERIC_IRQ_ENTRY`), and enforces the newer rules there. 32-bit arm's kernels don't.
fn knows_the_entry() -> bool {
    is_arm64() || !machine().starts_with("arm")
}

/// Asked of the kernel, since programs of 32 bits run on it as well; there it may call itself
/// `armv8l`.
fn is_arm64() -> bool {
    ["aarch64", "armv8"].iter().any(|name| machine().starts_with(name))
}

/// The machine, as `uname -m` prints it.
fn machine() -> String {
    // SAFETY: arrays of characters, for which zeroes are valid.
    let mut names: libc::utsname = unsafe { mem::zeroed() };
    // SAFETY: writes the structure, each of whose fields is a C string then.
    let machine = unsafe {
        assert_eq!(libc::uname(&mut names), 0);
        CStr::from_ptr(names.machine.as_ptr())
    };
    machine.to_string_lossy().into_owned()
}

/// The column of the running kernel, for threads whose areas have this length, and for an event
/// that is a signal or none. One that is newer than all that were looked at is held to the newest.
fn column(length: u32, signal: bool) -> usize {
    match version() {
        // 7.0.10 made signals, for areas of the original length, independent of how the kernel was
        // entered.
        (7, 0, 10..=13) if signal && length == ORIGINAL_LENGTH => SINCE_6_19,
        (6, 19.., _) | (7, 0, ..=13) if is_arm64() => BROKEN,
        version if version < (6, 19, 0) || !knows_the_entry() => BEFORE_6_19,
        _ => SINCE_6_19,
    }
}

/// The first numbers of the running kernel's release.
fn version() -> (u32, u32, u32) {
    // In a thread of its own: asking may register it.
    let kernel = thread::spawn(|| rseq::status().kernel()).join().expect("ends well").expect("Linux has a release");
    (kernel.major, kernel.minor, kernel.patch)
}

/// The signature with which the tests here register areas: any number does.
const SIGNATURE: u32 = 0x1234_5678;

/// An area that covers what kernels offer.
#[repr(C, align(64))]
struct Area(UnsafeCell<MaybeUninit<[u64; 8]>>);

/// A thread's area, registered by the test. Ends the registration when it is dropped.
struct Registered {
    area: Box<Area>,
    length: u32,
}

impl Registered {
    /// Registers the calling thread, which must be the one that drops the result.
    fn new(length: u32) -> Result<Self, i32> {
        assert!(length as usize <= size_of::<Area>(), "this kernel offers {length} bytes");
        let registered = Self { area: Box::new(Area(UnsafeCell::new(MaybeUninit::zeroed()))), length };
        match registered.call(0) {
            Ok(()) => Ok(registered),
            Err(errno) => {
                mem::forget(registered);
                Err(errno)
            }
        }
    }

    fn call(&self, flags: i32) -> Result<(), i32> {
        // SAFETY: the area stays where it is until its registration has ended.
        outcome(unsafe { libc::syscall(libc::SYS_rseq, self.area.0.get(), self.length, flags, SIGNATURE) })
    }

    fn fields(&self) -> &rseq::abi::Rseq {
        // SAFETY: the structure begins as this one does, and its fields are atomics.
        unsafe { &*self.area.0.get().cast() }
    }

    fn arm(&self, descriptor: &Descriptor) {
        self.fields().rseq_cs.store(ptr::from_ref(descriptor).addr() as u64, SeqCst);
    }

    /// The fate of the descriptor while this goes on.
    fn armed(&self, descriptor: &Descriptor, meanwhile: impl FnOnce()) -> Then {
        self.arm(descriptor);
        meanwhile();
        if self.fields().rseq_cs.swap(0, SeqCst) == 0 { Cleared } else { Stays }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.call(FLAG_UNREGISTER).expect("this thread registered it");
    }
}

/// The lengths under which this kernel registers areas: the original one, and its own if that is
/// longer.
fn lengths() -> impl Iterator<Item = u32> {
    // SAFETY: has no precondition.
    let offered = unsafe { libc::getauxval(AT_RSEQ_FEATURE_SIZE.into()) } as u32;
    [ORIGINAL_LENGTH, offered].into_iter().take(if offered > ORIGINAL_LENGTH { 2 } else { 1 })
}

/// Runs the test of this name for each length, in threads that nobody has registered.
fn for_each_length(name: &str, test: impl Fn(&Registered) + Sync) {
    /// The threads of a test meet in statics, and its process may be interrupted by timers.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for length in lengths() {
        let refused = thread::scope(|scope| {
            let thread = scope.spawn(|| Registered::new(length).map(|registered| test(&registered)));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).err()
        });
        match refused {
            None => println!("{length} bytes: as expected"),
            Some(libc::ENOSYS) => return println!("skipped: needs a kernel with restartable sequences"),
            Some(errno) => {
                assert_eq!(env::var_os("GLIBC_TUNABLES"), None, "errno {errno}, though libc registers no threads");
                println!("libc registers threads: {name} runs in a process of its own");
                return print!("{}", must_pass(with_own_registration(&format!("{}::{name}", module_path!()))));
            }
        }
    }
}

/// A descriptor that covers nothing that is ever run.
fn elsewhere() -> Descriptor {
    descriptor(*ABORT_HANDLER - 4, 4)
}

/// A descriptor of a window at this address.
fn descriptor(start: usize, length: usize) -> Descriptor {
    let (start_ip, post_commit_offset) = (start as u64, length as u64);
    Descriptor { version: 0, flags: 0, start_ip, post_commit_offset, abort_ip: *ABORT_HANDLER as u64 }
}

/// Where a thread goes on that was aborted: behind the signature, in memory that can't be executed,
/// far from the program.
static ABORT_HANDLER: LazyLock<usize> = LazyLock::new(|| {
    const FAR: usize = 0x3000_0000;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, near the place that is asked for if that is free.
    let page = unsafe { libc::mmap(FAR as *mut _, 4096, access, kind, -1, 0) }.cast::<u32>();
    assert_ne!(page.cast(), libc::MAP_FAILED);
    // SAFETY: the memory from above.
    unsafe {
        page.write(SIGNATURE);
        page.add(1).addr()
    }
});

/// The other thread of a test: what it does, on which CPU, and how often it has.
static ASKED: AtomicBool = AtomicBool::new(false);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Has the other thread do once what it is there for, and makes no system call until it has.
fn ask() {
    let before = DONE.load(SeqCst);
    ASKED.store(true, SeqCst);
    while DONE.load(SeqCst) == before {
        spin_loop();
    }
}

fn done() {
    DONE.fetch_add(1, SeqCst);
}

/// The other thread of a test.
#[derive(Clone, Copy)]
enum Other {
    /// There is none.
    Nobody,
    /// It runs all the time, on the CPU of the thread that is armed.
    OnTheSame(fn()),
    /// It runs when it is asked to, on another CPU.
    OnAnother(fn()),
}

/// Tests a row of the table: `happens` runs while the thread is armed, and says whether the event
/// took place and nothing else did.
fn row(name: &str, event: Event, other: Other, happens: impl Fn() -> bool + Sync) {
    const TRIALS: usize = 20;
    let columns = TABLE.iter().find(|(row, _)| *row == event).expect("each event has a row").1;
    let cpus = available_cpus();
    if cpus.len() < 2 {
        return println!("skipped: needs two CPUs");
    }
    for_each_length(name, |registered| {
        run_on(&cpus[..1]);
        THREAD.store(thread_id(), SeqCst);
        let elsewhere = elsewhere();
        let mut found = Vec::new();
        beside(other, &cpus, || {
            for _ in 0..TRIALS {
                let mut happened = false;
                let then = registered.armed(&elsewhere, || happened = happens());
                found.extend(happened.then_some(then));
                run_on(&cpus[..1]);
            }
        });
        println!("{event:?}: {found:?}");
        if found.is_empty() {
            return println!("skipped: {event:?} never came alone, so busy is this machine");
        }
        match columns[column(registered.length, event == Signalled)] {
            Cleared => assert!(!found.contains(&Stays), "{event:?} doesn't always clear"),
            // A clearing may have another cause that happens to come at the same time; its absence
            // has no other cause.
            Stays => assert!(found.contains(&Stays), "{event:?} clears"),
        }
    });
}

/// The thread that is armed.
static THREAD: AtomicI32 = AtomicI32::new(0);

fn thread_id() -> libc::pid_t {
    // SAFETY: has no precondition.
    unsafe { libc::gettid() }
}

fn beside(other: Other, cpus: &[usize], work: impl FnOnce()) {
    let end = &AtomicBool::new(false);
    thread::scope(|scope| {
        match other {
            Other::Nobody => {}
            Other::OnTheSame(act) => drop(scope.spawn(move || {
                run_on(&cpus[..1]);
                while !end.load(SeqCst) {
                    act();
                }
            })),
            Other::OnAnother(act) => drop(scope.spawn(move || {
                run_on(&cpus[1..2]);
                while !end.load(SeqCst) {
                    if ASKED.swap(false, SeqCst) {
                        act();
                    }
                    spin_loop();
                }
            })),
        }
        work();
        end.store(true, SeqCst);
    });
}

/// Waits, without a system call, for the other thread.
fn happens_when_asked() -> bool {
    ask();
    true
}

#[test]
fn preempted() {
    row("preempted", Preempted, Other::OnTheSame(done), happens_when_asked);
}

#[test]
fn signalled() {
    extern "C" fn handler(_: libc::c_int) {
        done();
    }
    fn signal() {
        // SAFETY: takes no pointer; the handler is installed.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), THREAD.load(SeqCst), libc::SIGUSR1) };
    }
    handle_signals(handler);
    row("signalled", Signalled, Other::OnAnother(signal), happens_when_asked);
}

#[test]
fn migrated() {
    /// To the CPU of the thread that does so.
    fn migrate() {
        // SAFETY: zero is an empty set; a thread of this process that waits for this one.
        unsafe {
            let mut set: libc::cpu_set_t = mem::zeroed();
            libc::CPU_SET(available_cpus()[0], &mut set);
            libc::sched_setaffinity(THREAD.load(SeqCst), size_of_val(&set), &set);
        }
        done();
    }
    row("migrated", Migrated, Other::OnAnother(migrate), happens_when_asked);
}

#[test]
fn fenced() {
    const PRIVATE_EXPEDITED_RSEQ: i32 = 1 << 7;
    const REGISTER: i32 = 1 << 8;
    fn membarrier(command: i32) -> Result<(), i32> {
        // SAFETY: takes no pointer.
        outcome(unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) })
    }
    fn interrupt() {
        membarrier(PRIVATE_EXPEDITED_RSEQ).expect("it was announced");
        done();
    }
    match membarrier(REGISTER) {
        Ok(()) => row("fenced", Fenced, Other::OnAnother(interrupt), happens_when_asked),
        Err(errno) => println!("skipped: needs the fence of Linux 5.10, and membarrier says {errno}"),
    }
}

/// The context switches of the calling thread.
fn switches() -> libc::c_long {
    // SAFETY: zero is valid for a structure of numbers, which the call fills.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage
    };
    usage.ru_nvcsw + usage.ru_nivcsw
}

#[test]
fn tick() {
    row("tick", Tick, Other::Nobody, || {
        let before = switches();
        // One at least, at 100 of them in a second.
        let time = cpu_time() + std::time::Duration::from_millis(12);
        while cpu_time() < time {
            (0..1000).for_each(|_| spin_loop());
        }
        switches() == before
    });
}

fn cpu_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one structure. A call that doesn't block.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// New address space of so many pages, and the length of a page.
fn pages(count: usize) -> (*mut u8, usize) {
    // SAFETY: new memory, which stays.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(ptr::null_mut(), count * page, access, kind, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        (memory.cast(), page)
    }
}

/// Stores to another page each time.
fn fault_at(memory: usize, page: usize) -> impl Fn() {
    let next = AtomicUsize::new(memory);
    move || {
        let byte = next.fetch_add(page, SeqCst) as *mut u8;
        // SAFETY: inside of the memory, which has more pages than tests have trials.
        unsafe { byte.write_volatile(1) };
    }
}

#[test]
fn fault_that_does_not_sleep() {
    let (memory, page) = pages(100);
    let fault = fault_at(memory.addr(), page);
    row("fault_that_does_not_sleep", FaultThatDoesNot, Other::Nobody, || {
        fault();
        true
    });
}

/// A page fault that another thread serves (`userfaultfd(2)`), with `uapi/linux/userfaultfd.h` as
/// far as it is needed.
mod userfault {
    use super::*;

    #[repr(C)]
    struct Interface {
        version: u64,
        features: u64,
        calls: u64,
    }

    #[repr(C)]
    struct Register {
        start: u64,
        length: u64,
        mode: u64,
        calls: u64,
    }

    #[repr(C)]
    struct ZeroPage {
        start: u64,
        length: u64,
        mode: u64,
        zeroed: i64,
    }

    const TYPE: u32 = 0xaa;
    const API: u64 = 0xaa;
    const MISSING: u64 = 1;
    /// Faults of system calls aren't wanted: then no privilege is needed (Linux 5.11).
    const USER_MODE_ONLY: i32 = 1;

    static FILE: AtomicI32 = AtomicI32::new(-1);
    static PAGE: AtomicUsize = AtomicUsize::new(0);

    /// Has faults in this memory reported.
    pub fn register(memory: *mut u8, length: usize, page: usize) -> io::Result<()> {
        let open = |flags: i32| {
            // SAFETY: takes no pointer.
            match unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK | flags) } {
                -1 => Err(io::Error::last_os_error()),
                file => Ok(file as i32),
            }
        };
        let file = open(USER_MODE_ONLY).or_else(|_| open(0))?;
        let mut interface = Interface { version: API, features: 0, calls: 0 };
        let mut range = Register { start: memory.addr() as u64, length: length as u64, mode: MISSING, calls: 0 };
        // SAFETY: the structures of these calls.
        unsafe {
            if libc::ioctl(file, libc::_IOWR::<Interface>(TYPE, 0x3f), &mut interface) != 0
                || libc::ioctl(file, libc::_IOWR::<Register>(TYPE, 0), &mut range) != 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        FILE.store(file, SeqCst);
        PAGE.store(page, SeqCst);
        Ok(())
    }

    /// Serves a fault, if there is one. The address is the third word of its message.
    pub fn serve() {
        let (file, page) = (FILE.load(SeqCst), PAGE.load(SeqCst) as u64);
        let mut message = [0_u64; 4];
        // SAFETY: reads a message into as much memory; a page of the memory that was registered.
        unsafe {
            while libc::read(file, message.as_mut_ptr().cast(), 32) == 32 {
                let mut zero = ZeroPage { start: message[2] & !(page - 1), length: page, mode: 0, zeroed: 0 };
                libc::ioctl(file, libc::_IOWR::<ZeroPage>(TYPE, 4), &mut zero);
            }
        }
    }
}

#[test]
fn fault_that_sleeps() {
    let count = 100;
    let (memory, page) = pages(count);
    match userfault::register(memory, count * page, page) {
        Ok(()) => {
            let fault = fault_at(memory.addr(), page);
            row("fault_that_sleeps", FaultThatSleeps, Other::OnTheSame(userfault::serve), || {
                fault();
                true
            });
        }
        Err(error) => println!("skipped: needs userfaultfd, and that says: {error}"),
    }
}

#[test]
fn call() {
    row("call", Call, Other::Nobody, || {
        // SAFETY: has no precondition.
        unsafe { libc::syscall(libc::SYS_getppid) };
        true
    });
}

const SHORT: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };

#[test]
fn call_that_waits() {
    row("call_that_waits", CallThatWaits, Other::Nobody, || {
        let (before, word) = (switches(), 0_u32);
        let nobody_wakes = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: reads the word and the time.
        unsafe { libc::syscall(libc::SYS_futex, &word, nobody_wakes, 0, &SHORT, 0, 0) };
        switches() > before
    });
}

#[test]
fn call_that_sleeps() {
    row("call_that_sleeps", CallThatSleeps, Other::Nobody, || {
        let before = switches();
        // SAFETY: reads the time.
        unsafe { libc::nanosleep(&SHORT, ptr::null_mut()) };
        switches() > before
    });
}

#[test]
fn call_that_yields() {
    row("call_that_yields", CallThatYields, Other::OnTheSame(done), || {
        let before = DONE.load(SeqCst);
        // SAFETY: has no precondition.
        (0..1000).any(|_| unsafe { libc::sched_yield() } != 0 || DONE.load(SeqCst) != before)
    });
}

/// The end of a process.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// It goes on as if nothing had been in force.
    GoesOn,
    /// It goes on at the abort handler.
    Aborts,
    /// The kernel kills it.
    Killed,
}

/// The end of a child, by its exit code, in which a timer interrupts a loop while this
/// descriptor is in force.
fn fate(registered: &Registered, descriptor: &Descriptor) -> Fate {
    fate_of(|| {
        registered.arm(descriptor);
        interrupted();
    })
}

/// The end of a child that does this.
fn fate_of(work: impl FnOnce()) -> Fate {
    /// The exit code of a child that went to [`ABORT_HANDLER`], which can't be executed.
    const ABORTED: i32 = 3;
    /// That of one that the kernel sent SIGSEGV for another reason than a fault.
    const KILLED: i32 = 4;
    extern "C" fn on_fault(_: libc::c_int, fault: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: what the kernel gives to a handler of this signal.
        let (code, address) = unsafe { ((*fault).si_code, (*fault).si_addr().addr()) };
        let exit = match code {
            libc::SI_KERNEL => KILLED,
            // s390x gives the page alone.
            _ if address & !0xfff == *ABORT_HANDLER & !0xfff => ABORTED,
            _ => 5,
        };
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(exit) };
    }
    LazyLock::force(&ABORT_HANDLER);
    // SAFETY: the child makes system calls alone, and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: zero is a valid sigaction, and the handler has the signature that the flag says.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut());
        }
        work();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child from above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    match (libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)), libc::WEXITSTATUS(status)) {
        (Some(libc::SIGSEGV), _) | (None, KILLED) => Fate::Killed,
        (None, 0) => Fate::GoesOn,
        (None, ABORTED) => Fate::Aborts,
        other => panic!("the child ended by {other:?}"),
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns in a loop until a timer's signal was handled.
fn interrupted() {
    extern "C" fn handler(_: libc::c_int) {
        INTERRUPTED.store(true, SeqCst);
    }
    // Late enough for the thread to be back from the call that sets it: of a signal that comes
    // inside of that, newer kernels think otherwise.
    let soon = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
    let once = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: soon };
    // SAFETY: the handler stores to an atomic; the structure is read.
    unsafe {
        libc::signal(libc::SIGALRM, handler as *const () as usize);
        libc::setitimer(libc::ITIMER_REAL, &once, ptr::null_mut());
    }
    while !INTERRUPTED.load(SeqCst) {
        spin_loop();
    }
}

/// A descriptor that covers the loop of [`interrupted`], with all that it calls.
fn covering() -> Descriptor {
    const AROUND: usize = 1 << 20;
    let start = (interrupted as *const () as usize).saturating_sub(AROUND);
    assert!(!(start..start + 2 * AROUND).contains(&*ABORT_HANDLER));
    descriptor(start, 2 * AROUND)
}

/// A flaw of a descriptor.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    Nothing,
    Signature,
    Version,
    Flags,
    AbortInside,
    Overflow,
}

/// The end of a thread that is interrupted outside of the flawed descriptor's window, and
/// inside, by [`column`].
#[rustfmt::skip]
const FATES: [(Flaw, [Fate; 3], [Fate; 3]); 6] = {
    use Fate::*;
    use Flaw::*;
    [
        //             outside: before, since 6.19, broken   inside
        (Nothing,     [GoesOn, GoesOn, GoesOn],             [Aborts, Aborts, GoesOn]),
        (Signature,   [Killed, GoesOn, GoesOn],             [Killed, Killed, GoesOn]),
        (Version,     [Killed, GoesOn, GoesOn],             [Killed, Aborts, GoesOn]),
        (Flags,       [GoesOn, GoesOn, GoesOn],             [Killed, Aborts, GoesOn]),
        (AbortInside, [Killed, GoesOn, GoesOn],             [Killed, Aborts, GoesOn]),
        // (A window of that length has no outside, for kernels that don't check.)
        (Overflow,    [Killed, Aborts, GoesOn],             [Killed, Aborts, GoesOn]),
    ]
};

/// The descriptor with this flaw.
fn flawed(sound: Descriptor, flaw: Flaw) -> Descriptor {
    match flaw {
        Flaw::Nothing => sound,
        // The word behind the signature is 0.
        Flaw::Signature => Descriptor { abort_ip: sound.abort_ip + 4, ..sound },
        Flaw::Version => Descriptor { version: 1, ..sound },
        Flaw::Flags => Descriptor { flags: 1, ..sound },
        Flaw::AbortInside => {
            let end = (sound.start_ip + sound.post_commit_offset).max(sound.abort_ip + 1);
            let start_ip = sound.start_ip.min(sound.abort_ip);
            Descriptor { start_ip, post_commit_offset: end - start_ip, ..sound }
        }
        Flaw::Overflow => Descriptor { post_commit_offset: u64::MAX, ..sound },
    }
}

#[test]
fn flawed_descriptors() {
    let version = version();
    for_each_length("flawed_descriptors", |registered| {
        let column = match column(registered.length, true) {
            // The same checks, whatever the kernel knows of the entry.
            BEFORE_6_19 if version >= (6, 19, 0) => SINCE_6_19,
            column => column,
        };
        for (flaw, outside, inside) in FATES {
            if matches!(flaw, Flaw::Flags) && version < (6, 0, 0) {
                // There the flags say which events don't abort, and this one isn't among them.
                continue;
            }
            let found = [elsewhere(), covering()].map(|sound| fate(registered, &flawed(sound, flaw)));
            println!("{flaw:?}: {found:?}");
            assert_eq!(found, [outside[column], inside[column]], "{flaw:?}");
        }
    });
}

/// The fields that are the kernel's are read-only where an area is registered under more than the
/// original length (the kernel's "v2").
#[test]
fn stores_to_the_fields_of_the_kernel() {
    const ENFORCED: (u32, u32, u32) = (7, 0, 10);
    let version = version();
    let cpus = available_cpus();
    if cpus.len() < 2 {
        return println!("skipped: needs two CPUs");
    }
    for_each_length("stores_to_the_fields_of_the_kernel", |registered| {
        // The kernel looks when it has something new to say.
        let fate_after = |store: &dyn Fn()| {
            fate_of(|| {
                run_on(&cpus[..1]);
                store();
                run_on(&cpus[1..2]);
            })
        };
        let area = registered.fields();
        let fields = [
            ("cpu_id_start", &area.cpu_id_start),
            ("cpu_id", &area.cpu_id),
            ("node_id", &area.node_id),
            ("mm_cid", &area.mm_cid),
        ];
        let kills = registered.length > ORIGINAL_LENGTH && version >= ENFORCED && knows_the_entry();
        for (name, field) in fields {
            let fate = fate_after(&|| field.store(1 << 20, SeqCst));
            assert_eq!(fate, if kills { Fate::Killed } else { Fate::GoesOn }, "{name}");
        }
        assert_eq!(fate_after(&|| ()), Fate::GoesOn, "the other assertions prove nothing");
    });
}

/// The time-slice extension is refused to areas of the original length, and where the kernel isn't
/// built with it; areas say whether it can be had.
#[test]
fn slice_extension() {
    const PR_RSEQ_SLICE_EXTENSION: i32 = 79;
    const SET: libc::c_ulong = 2;
    const ENABLE: libc::c_ulong = 1;
    const ENOTSUPP: i32 = 524;
    for_each_length("slice_extension", |registered| {
        let flags = || registered.fields().flags.load(SeqCst);
        let available = flags() & SLICE_AVAILABLE != 0;
        // SAFETY: takes no pointer.
        let enabled = outcome(unsafe { libc::prctl(PR_RSEQ_SLICE_EXTENSION, SET, ENABLE, 0_usize, 0_usize) }.into());
        println!("flags {:#x}: {enabled:?}", flags());
        match enabled {
            Ok(()) => assert!(available && registered.length > ORIGINAL_LENGTH && flags() & SLICE_ENABLED != 0),
            Err(errno) => assert!(!available && [libc::EINVAL, ENOTSUPP].contains(&errno), "errno {errno}"),
        }
    });
}
