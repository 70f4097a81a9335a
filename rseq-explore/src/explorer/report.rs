//! The report: what was covered, and what went wrong.

use std::collections::BTreeMap;
use std::fmt;

use super::plan::Event;

/// How far a section is that is about to execute an instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The next instruction arms it.
    Arm,
    /// It is armed, and on its way to the window.
    Prepare,
    /// It is in the window: the kernel aborts it.
    Window,
    /// It has committed or left, and is still armed.
    Post,
    /// It is disarmed.
    Disarmed,
}

/// The outcome of an event.
#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    /// The section didn't come by.
    NotReached,
    /// The mistake.
    Failed(String),
}

/// Where something went wrong, and what.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The event that came in between; `None` if it was wrong without that.
    pub event: Option<Event>,
    /// How far the section was.
    pub phase: Option<Phase>,
    /// The instruction that it was about to execute, for people.
    pub instruction: String,
    /// The mistake, in words.
    pub what: String,
}

impl Failure {
    /// Something was wrong without an event.
    pub(super) fn before(what: String) -> Self {
        Self { event: None, phase: None, instruction: String::new(), what }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(event), Some(phase)) = (self.event, self.phase) {
            write!(f, "{event:?} at {} ({phase:?}): ", self.instruction)?;
        }
        f.write_str(&self.what)
    }
}

/// The cases of one phase and event.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    explored: usize,
    not_reached: usize,
}

/// The points that an exploration covered, and what went wrong.
///
/// Its `Display` is a table of the phases and events, with the number of instructions that were
/// explored; the alternate form (`{:#}`) lists the instructions too.
#[derive(Clone, Debug)]
pub struct Report {
    name: String,
    skipped: Option<String>,
    points: Vec<(Phase, String)>,
    counts: BTreeMap<(Phase, Event), Count>,
    one_cpu: bool,
    failures: Vec<Failure>,
}

impl Report {
    pub(super) fn new(name: &str) -> Self {
        let name = if name.is_empty() { "section".to_owned() } else { name.to_owned() };
        let (points, counts) = (Vec::new(), BTreeMap::new());
        Self { name, skipped: None, points, counts, one_cpu: false, failures: Vec::new() }
    }

    pub(super) fn skip(&mut self, why: String) {
        self.skipped = Some(why);
    }

    pub(super) fn without_second_cpu(&mut self) {
        self.one_cpu = true;
    }

    /// The instructions at which the section can be interrupted.
    pub(super) fn found(&mut self, points: Vec<(Phase, String)>) {
        if points.is_empty() {
            self.fail(Failure::before("the closure ran no section: nothing was armed, and no window entered".into()));
        }
        self.points = points;
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// Adds the outcome of an event at the point of this number.
    pub(super) fn add(&mut self, point: usize, event: Event, outcome: Outcome) {
        let (phase, instruction) = &self.points[point];
        let count = self.counts.entry((*phase, event)).or_default();
        match outcome {
            Outcome::Passed => count.explored += 1,
            Outcome::NotReached => count.not_reached += 1,
            Outcome::Failed(what) => {
                count.explored += 1;
                let (event, phase, instruction) = (Some(event), Some(*phase), instruction.clone());
                self.failures.push(Failure { event, phase, instruction, what });
            }
        }
    }

    /// The mistakes.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Why nothing was explored, if nothing was.
    #[must_use]
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// How many instructions there are at which the section can be interrupted.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.points.len()
    }

    /// How many cases were explored: an event at an instruction each.
    #[must_use]
    pub fn explored(&self) -> usize {
        self.counts.values().map(|count| count.explored).sum()
    }

    /// How many cases weren't, because the section didn't come by the instruction: it took another
    /// way.
    #[must_use]
    pub fn not_reached(&self) -> usize {
        self.counts.values().map(|count| count.not_reached).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return write!(f, "{}: skipped, because {why}", self.name);
        }
        let (instructions, explored, failures) = (self.instructions(), self.explored(), self.failures.len());
        writeln!(f, "{}: {instructions} instructions, {explored} cases explored, {failures} wrong", self.name)?;
        let phases = [Phase::Arm, Phase::Prepare, Phase::Window, Phase::Post, Phase::Disarmed];
        write!(f, "    {:18}", "")?;
        for phase in phases {
            write!(f, "{:>10}", format!("{phase:?}"))?;
        }
        for event in Event::ALL {
            write!(f, "\n    {:18}", format!("{event:?}"))?;
            for phase in phases {
                let explored = self.counts.get(&(phase, event)).map_or(0, |count| count.explored);
                write!(f, "{explored:>10}")?;
            }
        }
        if self.not_reached() > 0 {
            write!(f, "\n    the section didn't come by in {} cases", self.not_reached())?;
        }
        if self.one_cpu {
            f.write_str(
                "\n    without migrations and fences, nor a look at whether two CPUs commit to one place: the process may use one CPU alone",
            )?;
        }
        if f.alternate() {
            for (phase, instruction) in &self.points {
                write!(f, "\n    {:9} {instruction}", format!("{phase:?}"))?;
            }
        }
        const SHOWN: usize = 20;
        for failure in self.failures.iter().take(SHOWN) {
            write!(f, "\n    WRONG {failure}")?;
        }
        if failures > SHOWN {
            write!(f, "\n    and {} more", failures - SHOWN)?;
        }
        Ok(())
    }
}
