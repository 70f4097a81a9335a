//! A process under `ptrace(2)`: a thread of it stops where it is told to.

use std::collections::BTreeMap;
use std::mem::{MaybeUninit, zeroed};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use std::{io, ptr, thread};

use super::arch::{self, Registers};

/// Nothing that a child does takes longer, unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The type of `ptrace(2)`'s requests in C libraries.
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;
#[cfg(target_env = "musl")]
type Request = libc::c_int;

/// The unit that `ptrace(2)` reads and writes at once, at multiples of its size.
type Word = [u8; size_of::<usize>()];
const WORD: u64 = size_of::<Word>() as u64;

/// Why a thread stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// It came to a breakpoint, which it has not executed yet.
    Breakpoint(u64),
    /// It executed one instruction.
    Step,
    /// It says so itself: it has come to the next stage.
    Marker,
}

/// The end of an exploration of one point.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The child came to a signal that kills, or ended.
    Died(String),
    /// It made no progress.
    Hung(&'static str),
    /// The system refused something.
    System(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A thread of a child, which is traced. The child is killed when this is dropped.
pub(super) struct Tracee {
    pid: libc::pid_t,
    /// The bytes that stood where breakpoints are now.
    planted: BTreeMap<u64, [u8; arch::BREAKPOINT.len()]>,
}

impl Tracee {
    /// A thread that has called [`be_traced`], from its first marker on.
    pub fn new(pid: libc::pid_t) -> Result<Self, Trouble> {
        let tracee = Self { pid, planted: BTreeMap::new() };
        match tracee.wait()? {
            Stop::Marker => {}
            other => return Err(Trouble::Died(format!("it stopped at {other:x?} before it began"))),
        }
        tracee.request(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as usize)?;
        Ok(tracee)
    }

    /// `ptrace(2)`.
    fn request(&self, request: Request, address: usize, data: usize) -> io::Result<()> {
        // SAFETY: the callers' requests read or write no memory of this process but what `data`
        // points to, if it does.
        match unsafe { libc::ptrace(request, self.pid, address, data) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Lets it go on to the next stop.
    pub fn go_on(&self) -> Result<Stop, Trouble> {
        self.go_on_with(0)
    }

    /// The same, with a signal for it.
    pub fn go_on_with(&self, signal: i32) -> Result<Stop, Trouble> {
        self.request(libc::PTRACE_CONT, 0, signal as usize)?;
        self.wait()
    }

    /// Lets it execute one instruction.
    pub fn step(&self) -> Result<Stop, Trouble> {
        self.request(libc::PTRACE_SINGLESTEP, 0, 0)?;
        self.wait()
    }

    /// Waits until it stops.
    pub fn wait(&self) -> Result<Stop, Trouble> {
        let _watchdog = Watchdog::over(self.pid);
        let status = self.status()?;
        self.stop(status)
    }

    fn status(&self) -> Result<i32, Trouble> {
        let mut status = 0;
        loop {
            // SAFETY: writes the status of a child of this thread's.
            match unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) } {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                -1 => return Err(io::Error::last_os_error().into()),
                _ => return Ok(status),
            }
        }
    }

    fn stop(&self, status: i32) -> Result<Stop, Trouble> {
        if libc::WIFSTOPPED(status) {
            match libc::WSTOPSIG(status) {
                libc::SIGSTOP => return Ok(Stop::Marker),
                libc::SIGTRAP => return self.trapped(),
                signal => {
                    let at = self.registers().map_or(0, |registers| arch::ip(&registers));
                    return Err(Trouble::Died(format!("it got signal {signal} at {at:#x}")));
                }
            }
        }
        if libc::WIFSIGNALED(status) && Watchdog::killed(self.pid) {
            return Err(Trouble::Hung("before its next stop"));
        }
        Err(Trouble::Died(format!("it ended with status {status:#x}")))
    }

    /// A breakpoint of ours, or a step.
    fn trapped(&self) -> Result<Stop, Trouble> {
        let registers = self.registers()?;
        let at = arch::breakpoint(&registers);
        if self.planted.contains_key(&at) && self.is_breakpoint()? {
            self.set_registers(arch::going_on_at(registers, at))?;
            return Ok(Stop::Breakpoint(at));
        }
        Ok(Stop::Step)
    }

    /// True if it was an instruction that stopped it, and not a step.
    fn is_breakpoint(&self) -> io::Result<bool> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        self.request(libc::PTRACE_GETSIGINFO, 0, info.as_mut_ptr().expose_provenance())?;
        // SAFETY: zeroes are valid for it, and so is what the kernel wrote.
        let code = unsafe { info.assume_init() }.si_code;
        Ok(code != libc::TRAP_TRACE)
    }

    pub fn registers(&self) -> Result<Registers, Trouble> {
        // SAFETY: zeroes are valid for it; the kernel fills it.
        let mut registers: Registers = unsafe { zeroed() };
        self.request(libc::PTRACE_GETREGS, 0, (&raw mut registers).expose_provenance())?;
        Ok(registers)
    }

    fn set_registers(&self, registers: Registers) -> io::Result<()> {
        self.request(libc::PTRACE_SETREGS, 0, (&raw const registers).expose_provenance())
    }

    /// Its memory.
    pub fn read<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        self.bytes(at, N).try_into().map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))
    }

    pub fn word(&self, at: u64) -> io::Result<u64> {
        self.read(at).map(u64::from_le_bytes)
    }

    /// Its bytes from there on: so many of them, or as many as there are.
    fn bytes(&self, at: u64, count: usize) -> Vec<u8> {
        let before = at % WORD;
        let words = (at - before..at + count as u64).step_by(WORD as usize).map_while(|at| self.peek(at).ok());
        words.flatten().skip(before as usize).take(count).collect()
    }

    /// The bytes of a word. By `ptrace(2)`, not by files in `/proc`, which take longer than all
    /// else when the process ends.
    fn peek(&self, at: u64) -> io::Result<Word> {
        let mut word = Word::default();
        // Of the system call itself: C libraries return the word, and an error as one too.
        // SAFETY: the kernel writes a word.
        let result = unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKDATA, self.pid, at, word.as_mut_ptr()) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(word) }
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        for (at, &byte) in (at..).zip(bytes) {
            let mut word = self.peek(at - at % WORD)?;
            word[(at % WORD) as usize] = byte;
            self.request(libc::PTRACE_POKEDATA, (at - at % WORD) as usize, usize::from_ne_bytes(word))?;
        }
        Ok(())
    }

    /// The instruction there, with no breakpoint in its place.
    pub fn code(&self, at: u64) -> Option<arch::Code> {
        // Behind the last instruction of a segment there may be nothing.
        let mut bytes = self.bytes(at, arch::LONGEST);
        let end = at + bytes.len() as u64;
        for (planted, before) in self.planted.range(at.saturating_sub(arch::LONGEST as u64)..end) {
            for (offset, byte) in before.iter().enumerate() {
                let index = (planted + offset as u64).checked_sub(at);
                if let Some(place) = index.and_then(|index| bytes.get_mut(index as usize)) {
                    *place = *byte;
                }
            }
        }
        arch::Code::decode(&bytes, at)
    }

    /// Puts a breakpoint there, unless there is one.
    pub fn plant_breakpoint(&mut self, at: u64) -> Result<(), Trouble> {
        if !self.planted.contains_key(&at) {
            self.planted.insert(at, self.read(at)?);
            self.write(at, &arch::BREAKPOINT)?;
        }
        Ok(())
    }

    /// Takes this breakpoint away again.
    pub fn remove_breakpoint(&mut self, at: u64) -> Result<(), Trouble> {
        if let Some(before) = self.planted.remove(&at) {
            self.write(at, &before)?;
        }
        Ok(())
    }

    /// Takes all breakpoints away again.
    pub fn clear(&mut self) -> Result<(), Trouble> {
        while let Some((at, before)) = self.planted.pop_first() {
            self.write(at, &before)?;
        }
        Ok(())
    }

    /// Lets its first thread run on this CPU alone.
    pub fn pin(&self, cpu: usize) -> io::Result<()> {
        pin(self.pid, cpu)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        end(self.pid);
    }
}

fn end(pid: libc::pid_t) {
    // SAFETY: a child of this process that nobody has waited for to its end; what it leaves is its
    // status.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, ptr::null_mut(), libc::__WALL) == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// Makes the calling thread one that its parent traces.
pub(super) fn be_traced() -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 }
}

/// Lets a thread run on this CPU alone; 0 is the calling thread.
pub(super) fn pin(thread: libc::pid_t, cpu: usize) -> io::Result<()> {
    // SAFETY: zero is an empty set, which is read.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu, &mut set);
        match libc::sched_setaffinity(thread, size_of_val(&set), &set) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Kills a child that is waited for too long, so that the wait ends.
struct Watchdog;

/// The child that is waited for, 0 for none. There is one at a time, because explorations come one
/// after the other.
static WATCHED: AtomicI32 = AtomicI32::new(0);
/// How many waits there were.
static WAITS: AtomicU64 = AtomicU64::new(0);
/// The child that was killed.
static KILLED: AtomicI32 = AtomicI32::new(0);

impl Watchdog {
    fn over(pid: libc::pid_t) -> Self {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| drop(thread::spawn(Self::watch)));
        WAITS.fetch_add(1, SeqCst);
        WATCHED.store(pid, SeqCst);
        Self
    }

    fn watch() {
        const ROUND: Duration = Duration::from_secs(1);
        let (mut seen, mut rounds) = (0, 0);
        loop {
            thread::sleep(ROUND);
            let (waits, pid) = (WAITS.load(SeqCst), WATCHED.load(SeqCst));
            rounds = if waits == seen && pid != 0 { rounds + 1 } else { 0 };
            seen = waits;
            if rounds * ROUND >= PATIENCE {
                KILLED.store(pid, SeqCst);
                // SAFETY: a child that is waited for, so that its number is nobody else's.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }

    fn killed(pid: libc::pid_t) -> bool {
        KILLED.load(SeqCst) == pid
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        WATCHED.store(0, SeqCst);
    }
}
