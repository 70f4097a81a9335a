//! A child that is about to run the section, and what the explorer can do with it.

use std::io;

use super::super::plan::Work;
use super::child::{self, Cpus};
use super::orders::{Mapping, Operation, Order, Shared, Stage};
use super::tracee::{Stop, Tracee, Trouble};

pub(super) struct Subject {
    pub tracee: Tracee,
    memory: Mapping,
}

impl Subject {
    /// Forks a child, which sets everything up and stops ahead of the section.
    pub fn begin<R: Send + Sync, Q: Send + Sync>(work: &Work<'_, R, Q>, cpus: Cpus) -> Result<Self, Trouble> {
        let memory = Mapping::new()?;
        // SAFETY: the child is a copy of this thread alone. It runs what the user wants to have
        // run, and never returns from here.
        let tracee = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error().into()),
            0 => child::run(work, memory.shared(), cpus),
            pid => Tracee::new(pid)?,
        };
        let subject = Self { tracee, memory };
        match subject.shared().stage() {
            Some(Stage::Begun) => Ok(subject),
            _ => Err(Trouble::Died(subject.shared().message())),
        }
    }

    pub fn shared(&self) -> &Shared {
        self.memory.shared()
    }

    /// Lets it go on to the next stop.
    pub fn go_on(&self) -> Result<Stop, Trouble> {
        self.not_failed(self.tracee.go_on()?)
    }

    /// Has the second thread run an operation on this CPU while it is traced. It stands in front of
    /// it.
    pub fn trace_second(&self, cpu: usize, operation: Operation) -> Result<Tracee, Trouble> {
        self.carry_out(Order::Traced { cpu, operation })?.map_err(Trouble::Died)?;
        Tracee::new(self.shared().second_thread())
    }

    /// Puts a breakpoint there, which is for the first thread alone: no other may come by.
    pub fn plant_breakpoint(&mut self, at: u64) -> Result<(), Trouble> {
        self.shared().wait_until_ready().map_err(hung_or_refused)?;
        self.tracee.plant_breakpoint(at)
    }

    pub fn step(&self) -> Result<Stop, Trouble> {
        self.not_failed(self.tracee.step()?)
    }

    /// The same stop, unless it means that the section failed.
    pub fn not_failed(&self, stop: Stop) -> Result<Stop, Trouble> {
        match self.shared().stage() {
            Some(Stage::Failed) if stop == Stop::Marker => Err(Trouble::Died(self.shared().message())),
            _ => Ok(stop),
        }
    }

    /// Has an order carried out; what failed, in words.
    pub fn carry_out(&self, order: Order) -> Result<Result<(), String>, Trouble> {
        self.shared().carry_out(order).map_err(hung_or_refused)
    }
}

/// The end of a wait for the second thread, as a trouble.
fn hung_or_refused(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::TimedOut => Trouble::Hung("in its second thread"),
        _ => error.into(),
    }
}
