//! One event at one instruction.

use std::fmt::Write;
use std::mem::offset_of;

use rseq::abi::Descriptor;

use super::super::plan::{Event, Work};
use super::super::report::{Outcome, Phase};
use super::arch;
use super::child::{Cpus, SIGNAL};
use super::orders::{Operation, Order, Stage};
use super::points::Point;
use super::subject::Subject;
use super::tracee::{Stop, Trouble};
use super::windows::Windows;

/// Why a case is over before its end.
enum Broken {
    NotReached,
    /// The mistake.
    Wrong(String),
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Broken {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Wrong(what.into()))
}

/// The things that all cases have in common.
pub(super) struct Exploration<'w, R, Q> {
    pub work: &'w Work<'w, R, Q>,
    pub windows: &'w Windows,
    pub rseq_cs: u64,
    pub cpus: Cpus,
}

impl<R: Send + Sync, Q: Send + Sync> Exploration<'_, R, Q> {
    /// Has the event happen at the point, in a new child.
    pub fn case(&self, point: &Point, event: Event) -> Result<Outcome, Trouble> {
        Ok(match self.attempt(point, event) {
            Ok(()) => Outcome::Passed,
            Err(Broken::NotReached) => Outcome::NotReached,
            Err(Broken::Wrong(what)) => Outcome::Failed(what),
            Err(Broken::Trouble(Trouble::Died(how))) => Outcome::Failed(how),
            Err(Broken::Trouble(Trouble::Hung(when))) => {
                Outcome::Failed(format!("it made no progress any more {when}"))
            }
            Err(Broken::Trouble(Trouble::System(error))) => return Err(Trouble::System(error)),
        })
    }

    fn attempt(&self, point: &Point, event: Event) -> Result<(), Broken> {
        let mut subject = Subject::begin(self.work, self.cpus)?;
        let descriptor = self.stop_at(&mut subject, point)?;
        self.event(&subject, event)?;
        self.check_uncounted(&subject, point, "after the event")?;
        self.watch_way(&mut subject, point)?;
        // Not in force any more, but it will be again.
        self.check_descriptor(&subject, descriptor)?;
        self.finish(&subject, point, event)
    }

    /// Lets the section run to the point, where nothing has interrupted this attempt so far. The
    /// address of the descriptor in force.
    fn stop_at(&self, subject: &mut Subject, point: &Point) -> Result<u64, Broken> {
        if let Some(window) = &point.after
            && !subject.get_aborted(window)?
        {
            return Err(Broken::NotReached);
        }
        let mut was_unarmed = false;
        let descriptor = loop {
            subject.plant_breakpoint(point.address)?;
            if subject.go_on()? != Stop::Breakpoint(point.address) {
                let in_window = was_unarmed && point.phase == Phase::Window;
                return if in_window {
                    wrong("it went through its window with nothing in force")
                } else {
                    Err(Broken::NotReached)
                };
            }
            subject.tracee.clear()?;
            let descriptor = subject.tracee.word(self.rseq_cs)?;
            // A function that is called elsewhere too, or something else came in between, which the
            // window's check is about to find out.
            was_unarmed = matches!(point.phase, Phase::Prepare | Phase::Window) && descriptor == 0;
            if !was_unarmed {
                break descriptor;
            }
            subject.step()?;
        };
        self.check_descriptor(subject, descriptor)?;
        self.check_uncounted(subject, point, "before the event")?;
        Ok(descriptor)
    }

    /// Has the event happen while the section stands at the point.
    fn event(&self, subject: &Subject, event: Event) -> Result<(), Broken> {
        let Cpus { first, second } = self.cpus;
        match event {
            Event::Preemption => self.order(subject, Order::Conflict { cpu: first }),
            Event::Migration => {
                subject.tracee.pin(second.unwrap_or(first))?;
                self.order(subject, Order::Conflict { cpu: first })
            }
            Event::Signal => self.signal(subject, Operation::Section),
            Event::SignalOfConflict => self.signal(subject, Operation::Conflict),
            Event::Fence => self.order(subject, Order::Fence { cpu: first, from: second.unwrap_or(first) }),
        }
    }

    fn order(&self, subject: &Subject, order: Order) -> Result<(), Broken> {
        subject.carry_out(order)?.map_err(|what| Broken::Wrong(format!("{order:?}: {what}")))
    }

    /// Lets a handler run to its end.
    fn signal(&self, subject: &Subject, handler: Operation) -> Result<(), Broken> {
        subject.shared().set_handler(handler);
        let stop = subject.not_failed(subject.tracee.go_on_with(SIGNAL)?)?;
        match (stop, subject.shared().stage()) {
            (Stop::Marker, Some(Stage::Handled)) => Ok(()),
            (stop, stage) => wrong(format!("the handler didn't run to its end: {stop:x?}, {stage:?}")),
        }
    }

    /// Before the commit, what is there must be what came of everything but the section.
    fn check_uncounted(&self, subject: &Subject, point: &Point, when: &str) -> Result<(), Broken> {
        if point.phase >= Phase::Post {
            return Ok(());
        }
        let checked = subject.carry_out(Order::Check { section: None })?;
        checked.map_err(|what| Broken::Wrong(format!("something was published before the commit ({when}): {what}")))
    }

    /// The descriptor at this address, if it is one, is one that the kernel accepts, and covers one
    /// window or nothing.
    fn check_descriptor(&self, subject: &Subject, at: u64) -> Result<(), Broken> {
        if at == 0 {
            return Ok(());
        }
        let word = |field: usize| subject.tracee.word(at + field as u64);
        let (head, abort) = (word(offset_of!(Descriptor, version))?, word(offset_of!(Descriptor, abort_ip))?);
        let descriptor = Descriptor {
            version: head as u32,
            flags: (head >> 32) as u32,
            start_ip: word(offset_of!(Descriptor, start_ip))?,
            post_commit_offset: word(offset_of!(Descriptor, post_commit_offset))?,
            abort_ip: abort,
        };
        let signature = u32::from_le_bytes(subject.tracee.read(abort.wrapping_sub(4))?);
        let outside = abort.wrapping_sub(descriptor.start_ip) >= descriptor.post_commit_offset;
        let accepted = head == 0 && signature == arch::SIGNATURE && outside;
        if !accepted {
            return wrong(format!("the kernel refuses the descriptor: {descriptor:x?}, signature {signature:#x}"));
        }
        if !self.windows.covers_one(&descriptor) {
            return wrong(format!("the descriptor covers no window, but other code: {descriptor:x?}"));
        }
        Ok(())
    }

    /// An attempt that was interrupted must not get through its window.
    fn watch_way(&self, subject: &mut Subject, point: &Point) -> Result<(), Broken> {
        let interrupted = matches!(point.phase, Phase::Prepare | Phase::Window);
        let Some(window) = point.window.as_ref().filter(|_| interrupted) else { return Ok(()) };
        for at in window.ways_out().chain([window.abort_handler, window.aborted]) {
            subject.plant_breakpoint(at)?;
        }
        let stop = subject.go_on()?;
        subject.tracee.clear()?;
        match (point.phase, stop) {
            (Phase::Window, Stop::Breakpoint(at)) if at == window.abort_handler => Ok(()),
            (Phase::Window, stop) => {
                wrong(format!("the kernel didn't go to the abort handler, but it went on to {stop:x?}"))
            }
            (_, Stop::Breakpoint(at)) if at == window.post => {
                wrong("the attempt was interrupted, and committed all the same")
            }
            (_, Stop::Breakpoint(at)) if window.exits.contains(&at) => {
                wrong("the attempt was interrupted, and came through its window all the same")
            }
            _ => Ok(()),
        }
    }

    /// Lets the section run to its end: it has committed once, and nothing is in force.
    fn finish(&self, subject: &Subject, point: &Point, event: Event) -> Result<(), Broken> {
        while subject.shared().stage() != Some(Stage::Finished) {
            if subject.go_on()? != Stop::Marker {
                return wrong("it stopped on its way to the end");
            }
        }
        let armed = subject.tracee.word(self.rseq_cs)?;
        if armed != 0 {
            return wrong(format!("the descriptor at {armed:#x} is still in force behind the section"));
        }
        let moved = event == Event::Migration && !point.committed;
        let cpu = self.cpus.second.filter(|_| moved).unwrap_or(self.cpus.first);
        let checked = subject.carry_out(Order::Check { section: Some(cpu) })?;
        checked.map_err(|what| Broken::Wrong(format!("in the end: {what}")))
    }
}

/// An instruction for people: its address, and what it is.
pub(super) fn describe(address: u64) -> String {
    let mut text = format!("{address:#x}");
    // SAFETY: code of this process that was executed in its child.
    let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, arch::LONGEST) };
    if let Some(code) = arch::Code::decode(bytes, address) {
        write!(text, "  {}", code.text()).expect("a string takes everything");
    }
    text
}
