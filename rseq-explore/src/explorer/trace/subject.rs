//! A child that is about to run the section, and what the explorer can do with it.

use std::cell::Cell;
use std::time::Instant;
use std::{fs, io, thread};

use super::super::Work;
use super::child::{self, Cpus};
use super::orders::{Mapping, Operation, Order, Shared, Stage};
use super::tracee::{PATIENCE, Stop, Tracee, Trouble};

pub(super) struct Subject {
    pub tracee: Tracee,
    memory: Mapping,
    /// The second thread was seen to wait for orders, and got none since.
    second_rests: Cell<bool>,
}

impl Subject {
    /// Forks a child, which sets everything up and stops ahead of the section.
    pub fn begin<R: Send + Sync, Q: Send + Sync>(work: &Work<'_, R, Q>, cpus: Cpus) -> Result<Self, Trouble> {
        let memory = Mapping::new()?;
        // SAFETY: the child is a copy of this thread alone. It runs what the user wants to have run, and never returns from here.
        let tracee = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error().into()),
            0 => child::run(work, memory.shared(), cpus),
            pid => Tracee::new(pid)?,
        };
        let subject = Self { tracee, memory, second_rests: Cell::new(false) };
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

    /// Has the second thread run an operation on this CPU while it is traced. It stands in front of it.
    pub fn trace_second(&self, cpu: usize, operation: Operation) -> Result<Tracee, Trouble> {
        self.carry_out(Order::Traced { cpu, operation })?.map_err(Trouble::Died)?;
        Tracee::new(self.shared().second_thread())
    }

    /// Puts a breakpoint there, which is for the first thread alone: no other may come by.
    pub fn plant_breakpoint(&mut self, at: u64) -> Result<(), Trouble> {
        self.wait_for_second_thread()?;
        self.tracee.plant_breakpoint(at)
    }

    /// Waits until the second thread waits for orders.
    fn wait_for_second_thread(&self) -> Result<(), Trouble> {
        let path = format!("/proc/{}/task/{}/stat", self.tracee.pid(), self.shared().second_thread());
        let end = Instant::now() + PATIENCE;
        while !self.second_rests.get() {
            let status = fs::read_to_string(&path)?;
            // Behind the name, which may have any characters: `S` is for sleeping.
            self.second_rests.set(status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')));
            if Instant::now() > end {
                return Err(Trouble::Hung("in its second thread"));
            }
            thread::yield_now();
        }
        Ok(())
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
        self.second_rests.set(false);
        self.shared().carry_out(order).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Trouble::Hung("in its second thread"),
            _ => error.into(),
        })
    }
}
