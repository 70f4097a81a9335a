//! The memory by which the explorer and the child that it explores talk.

use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{ptr, thread};

use super::tracee::PATIENCE;

/// An order to the child's second thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Run the conflicting operation on this CPU.
    Conflict { cpu: usize },
    /// Make a fence for the sections of one CPU, from another one.
    Fence { cpu: usize, from: usize },
    /// Be traced from now on, and when that is done run an operation on this CPU, with a stop
    /// before it and one behind it.
    Traced { cpu: usize, operation: Operation },
    /// Check what is there, with the section counted as one that ran on this CPU, or as one that
    /// has not run.
    Check { section: Option<usize> },
}

/// The operation that a signal's handler is to run, or the second thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Section = 0,
    Conflict = 1,
}

/// How far the first thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// It is about to run the section.
    Begun = 1,
    /// A handler has run.
    Handled = 2,
    /// The section is over.
    Finished = 3,
    /// It could not begin, or panicked: there is a message.
    Failed = 4,
}

const LONGEST_MESSAGE: usize = 4000;

/// The memory that both have.
pub(super) struct Shared {
    /// The number of the order that is to be carried out, 0 for none; counts as the futex of the
    /// second thread.
    order: AtomicU32,
    arguments: [AtomicU64; 2],
    /// The outcome: a futex of the explorer's. 0 until it is done.
    answer: AtomicU32,
    /// The second thread is about to wait for an order: a futex of the explorer's.
    ready: AtomicU32,
    /// The thread that carries orders out, 0 before it is there.
    second_thread: AtomicI32,
    /// The address of its area, once it is traced.
    second_area: AtomicU64,
    stage: AtomicU32,
    handler: AtomicU32,
    length: AtomicU32,
    message: UnsafeCell<[u8; LONGEST_MESSAGE]>,
}

// SAFETY: the message is written by one thread at a time, before it says that there is one, and
// read afterwards.
unsafe impl Sync for Shared {}

const DONE: u32 = 1;
const FAILED: u32 = 2;
const NO_CPU: u64 = u64::MAX;

impl Operation {
    fn of(number: u64) -> Self {
        if number == Self::Section as u64 { Self::Section } else { Self::Conflict }
    }
}

impl Order {
    fn encode(self) -> (u32, [u64; 2]) {
        match self {
            Self::Conflict { cpu } => (1, [cpu as u64, 0]),
            Self::Fence { cpu, from } => (2, [cpu as u64, from as u64]),
            Self::Traced { cpu, operation } => (4, [cpu as u64, operation as u64]),
            Self::Check { section } => (3, [section.map_or(NO_CPU, |cpu| cpu as u64), 0]),
        }
    }

    fn decode(order: u32, [first, second]: [u64; 2]) -> Option<Self> {
        Some(match order {
            1 => Self::Conflict { cpu: first as usize },
            2 => Self::Fence { cpu: first as usize, from: second as usize },
            4 => Self::Traced { cpu: first as usize, operation: Operation::of(second) },
            3 => Self::Check { section: (first != NO_CPU).then_some(first as usize) },
            _ => return None,
        })
    }
}

/// Memory that a child inherits and goes on sharing.
pub(super) struct Mapping(*mut Shared);

impl Mapping {
    pub fn new() -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: memory of its own.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size_of::<Shared>(), protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(memory.cast())) }
    }

    pub fn shared(&self) -> &Shared {
        // SAFETY: mapped until this is dropped; zeroes are valid for it. The message is read and
        // written in turns: by the child before its answer or stage is known, by the explorer
        // afterwards.
        unsafe { &*self.0 }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.0.cast(), size_of::<Shared>()) };
    }
}

/// The explorer's half.
impl Shared {
    /// Has an order carried out. The message of what failed.
    pub fn carry_out(&self, order: Order) -> io::Result<Result<(), String>> {
        let (order, arguments) = order.encode();
        self.answer.store(0, SeqCst);
        self.ready.store(0, SeqCst);
        self.arguments.iter().zip(arguments).for_each(|(place, argument)| place.store(argument, SeqCst));
        self.order.store(order, SeqCst);
        wake(&self.order);
        wait_while(&self.answer, 0, Some(PATIENCE))?;
        Ok(if self.answer.load(SeqCst) == DONE { Ok(()) } else { Err(self.message()) })
    }

    /// Waits until the second thread waits for an order, and executes nothing.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        wait_while(&self.ready, 0, Some(PATIENCE))?;
        let end = Instant::now() + PATIENCE;
        while !waits(&self.order) {
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// The address of the second thread's area, once it is traced.
    pub fn second_area(&self) -> u64 {
        self.second_area.load(SeqCst)
    }

    pub fn second_thread(&self) -> libc::pid_t {
        self.second_thread.load(SeqCst)
    }

    pub fn stage(&self) -> Option<Stage> {
        let stages = [Stage::Begun, Stage::Handled, Stage::Finished, Stage::Failed];
        stages.into_iter().find(|stage| *stage as u32 == self.stage.load(SeqCst))
    }

    pub fn set_handler(&self, handler: Operation) {
        self.handler.store(handler as u32, SeqCst);
    }

    pub fn message(&self) -> String {
        let length = self.length.load(SeqCst) as usize;
        // SAFETY: the child wrote it before it said that there is one, and waits now.
        let bytes = unsafe { &(&*self.message.get())[..length.min(LONGEST_MESSAGE)] };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// The child's half.
impl Shared {
    /// The next order, as soon as there is one.
    pub fn next_order(&self) -> Option<Order> {
        self.ready.store(1, SeqCst);
        wake(&self.ready);
        // Without an end, which is that of the process.
        let _awoken = wait_while(&self.order, 0, None);
        let arguments = self.arguments.each_ref().map(|argument| argument.load(SeqCst));
        Order::decode(self.order.swap(0, SeqCst), arguments)
    }

    /// Waits until the second thread is there.
    pub fn wait_for_second_thread(&self) -> io::Result<()> {
        wait_while(&self.ready, 0, Some(PATIENCE))
    }

    /// The calling thread is the one that carries orders out.
    pub fn set_second_thread(&self) {
        // SAFETY: has no precondition.
        self.second_thread.store(unsafe { libc::gettid() }, SeqCst);
    }

    /// The address of the area of the thread that carries orders out.
    pub fn set_second_area(&self, area: u64) {
        self.second_area.store(area, SeqCst);
    }

    pub fn answer(&self, outcome: Result<(), String>) {
        let answer = match outcome {
            Ok(()) => DONE,
            Err(message) => {
                self.set_message(&message);
                FAILED
            }
        };
        self.answer.store(answer, SeqCst);
        wake(&self.answer);
    }

    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u32, SeqCst);
    }

    pub fn handler(&self) -> Operation {
        Operation::of(self.handler.load(SeqCst).into())
    }

    pub fn set_message(&self, message: &str) {
        let length = message.len().min(LONGEST_MESSAGE);
        // SAFETY: the explorer reads it once it is told of it, which is later.
        unsafe { (&mut *self.message.get())[..length].copy_from_slice(&message.as_bytes()[..length]) };
        self.length.store(length as u32, SeqCst);
    }
}

/// Waits while the number is this one.
fn wait_while(number: &AtomicU32, value: u32, most: Option<Duration>) -> io::Result<()> {
    let time = most.map(|most| libc::timespec { tv_sec: most.as_secs() as _, tv_nsec: 0 });
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    while number.load(SeqCst) == value {
        // Not private: the other process wakes it.
        // SAFETY: the number and the time are there as long as the call lasts.
        let result = unsafe { libc::syscall(libc::SYS_futex, number.as_ptr(), libc::FUTEX_WAIT, value, time) };
        if result == -1 && io::Error::last_os_error().kind() == io::ErrorKind::TimedOut {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// True if a thread waits for the number to change: the kernel says how many it moved of those, to
/// where they are.
fn waits(number: &AtomicU32) -> bool {
    let (futex, none_woken, one_moved, value) = (number.as_ptr(), 0, 1_usize, 0);
    // SAFETY: the number is there as long as the call lasts.
    let moved =
        unsafe { libc::syscall(libc::SYS_futex, futex, libc::FUTEX_CMP_REQUEUE, none_woken, one_moved, futex, value) };
    moved == 1
}

fn wake(number: &AtomicU32) {
    // SAFETY: the number is there as long as the call lasts.
    unsafe { libc::syscall(libc::SYS_futex, number.as_ptr(), libc::FUTEX_WAKE, 1) };
}
