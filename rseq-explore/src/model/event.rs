//! The events of a run, and its steps, for people to read.

use std::fmt;

use super::code::Address;
use super::kernel::Broken;

/// An event that may happen to a thread in front of a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Another thread of its CPU takes its place.
    Preempted(usize),
    /// It is moved to another CPU, where it takes the place of the thread that runs there.
    Moved(usize),
    /// A signal comes, whose handler runs to its end.
    Signalled,
    /// A fence, or any interruption that leaves everything else as it was.
    Fenced,
    /// Nothing, but the thread on another CPU comes first.
    Overtaken(usize),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preempted(by) => write!(f, "preempted by thread {by}"),
            Self::Moved(cpu) => write!(f, "moved to CPU {cpu}"),
            Self::Signalled => f.write_str("signalled"),
            Self::Fenced => f.write_str("fenced"),
            Self::Overtaken(cpu) => write!(f, "overtaken by CPU {cpu}"),
        }
    }
}

/// A step that a thread came to, and what happened there.
pub(super) struct Passed {
    pub thread: usize,
    pub at: Address,
    pub event: Option<Event>,
    pub in_handler: bool,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = if self.in_handler { ", handler" } else { "" };
        write!(f, "thread {}{handler}: {}", self.thread, self.at.step().text)?;
        self.event.map_or(Ok(()), |event| write!(f, "   <-- {event}"))
    }
}

/// The mistake of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// A rule of the protocol was broken.
    Rule(Broken),
    /// A thread, a handler or the check panicked, with this message.
    Panicked(String),
    /// It had more steps than any run that ends.
    Endless,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::Panicked(message) => f.write_str(message),
            Self::Endless => f.write_str("the threads don't come to an end"),
        }
    }
}
