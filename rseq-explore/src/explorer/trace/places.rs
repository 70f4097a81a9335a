//! A section must commit to its index's own place: while one thread stands in front of its commit,
//! another one, on another CPU, comes to its own. If both are about to store to one address,
//! nothing keeps them apart.
//!
//! Two threads that get something from each other by turns (a lock, a drain) don't have it at once,
//! so there is no false alarm in it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use rseq::abi::Rseq;

use super::super::report::{Failure, Phase, Report};
use super::arch;
use super::case::{Exploration, describe};
use super::orders::Operation;
use super::points::Point;
use super::subject::Subject;
use super::tracee::{Stop, Tracee, Trouble};
use super::windows::Window;

/// Looks at the commits of the section that is explored.
pub(super) fn look<R: Send + Sync, Q: Send + Sync>(
    exploration: &Exploration<'_, R, Q>,
    points: &[Point],
    report: &mut Report,
) -> Result<(), Trouble> {
    let Some(second_cpu) = exploration.cpus.second else {
        report.without_second_cpu();
        return Ok(());
    };
    let commits: Commits = exploration.windows.all().filter_map(|window| Some((commit(window)?, window))).collect();
    let windows: BTreeSet<u64> = points.iter().filter_map(|point| Some(point.window.as_ref()?.start)).collect();
    let mut known = BTreeSet::new();
    for (at, window) in commits.iter().filter(|(_, window)| windows.contains(&window.start)) {
        for operation in [Operation::Section, Operation::Conflict] {
            let mut found = (0..tries(window)).map(|_| exploration.at_once(*at, &commits, operation, second_cpu));
            match found.find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None)) {
                Ok(Some(failure)) if known.insert(failure.sections.clone()) => report.fail(failure.in_words()),
                Ok(_) => {}
                // Of closures that wait for the thread that stands there, or panic, the cases have
                // more to say.
                Err(Trouble::Died(_) | Trouble::Hung(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A thread that stands still may have lost its concurrency id to the other one, so that both have
/// the same, or it may not.
fn tries(window: &Window) -> usize {
    if window.by_cid() { 8 } else { 1 }
}

/// The windows of the process, by the addresses of their commit instructions.
type Commits<'w> = BTreeMap<u64, &'w Window>;

/// The commit instruction of a window: its last.
fn commit(window: &Window) -> Option<u64> {
    let (mut at, mut last) = (window.start, None);
    while at < window.post {
        last = Some(at);
        at += code(at, (window.post - at) as usize)?.length() as u64;
    }
    last
}

/// The instruction at an address of a window, of which there are so many bytes left.
fn code(at: u64, left: usize) -> Option<arch::Code> {
    // SAFETY: code of this process, which nothing writes to.
    let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, left.min(arch::LONGEST)) };
    arch::Code::decode(bytes, at)
}

/// A thread in front of its commit.
struct Commit<'w> {
    window: &'w Window,
    /// Where it is going to store.
    places: Vec<u64>,
    cpu: u32,
    cid: u32,
}

impl<'w> Commit<'w> {
    /// That of a thread which stands at this instruction, and has its area there.
    fn at(at: u64, window: &'w Window, thread: &Tracee, area: u64) -> Result<Self, Trouble> {
        let number = |offset: usize| thread.read(area + offset as u64).map(u32::from_ne_bytes);
        let (cpu, cid) = (number(offset_of!(Rseq, cpu_id))?, number(offset_of!(Rseq, mm_cid))?);
        let registers = thread.registers()?;
        let places = code(at, arch::LONGEST).map(|code| code.written(&registers)).unwrap_or_default();
        Ok(Self { window, places, cpu, cid })
    }

    /// The place that both are about to store to, though they go by different indices.
    fn shares(&self, other: &Self) -> Option<u64> {
        let same_index = match (self.window.by_cid(), other.window.by_cid()) {
            (true, true) => self.cid == other.cid,
            (false, false) => self.cpu == other.cpu,
            _ => false,
        };
        self.places.iter().copied().find(|place| !same_index && other.places.contains(place))
    }

    fn index(&self) -> String {
        if self.window.by_cid() { format!("concurrency id {}", self.cid) } else { format!("CPU {}", self.cpu) }
    }

    fn section(&self) -> String {
        self.window.note.as_ref().map_or_else(|| "a section".into(), |note| note.place.clone())
    }
}

/// A place that two sections are about to store to.
struct Shared {
    /// Where they stand in the source.
    sections: [String; 2],
    indices: [String; 2],
    place: u64,
    /// The second one's commit.
    at: u64,
}

impl Shared {
    fn in_words(self) -> Failure {
        let Self { sections: [section, other], indices: [index, its], place, at } = self;
        let what = format!(
            "{section} commits to {place:#x} by {index}, and {other} does so at the same time by {its}: nothing keeps them apart, so updates get lost; \
             select the place by the section's own index, as in `&SLOTS[cpu]`"
        );
        Failure { event: None, phase: Some(Phase::Window), instruction: describe(at), what }
    }
}

impl<R: Send + Sync, Q: Send + Sync> Exploration<'_, R, Q> {
    /// The mistake if the section, at this commit, and another thread's operation are about to
    /// store to one place.
    fn at_once(
        &self,
        at: u64,
        commits: &Commits<'_>,
        operation: Operation,
        second_cpu: usize,
    ) -> Result<Option<Shared>, Trouble> {
        let mut subject = Subject::begin(self.work, self.cpus)?;
        subject.plant_breakpoint(at)?;
        if subject.go_on()? != Stop::Breakpoint(at) {
            return Ok(None);
        }
        subject.tracee.clear()?;
        let area = self.rseq_cs - offset_of!(Rseq, rseq_cs) as u64;
        let first = Commit::at(at, commits[&at], &subject.tracee, area)?;
        let mut thread = subject.trace_second(second_cpu, operation)?;
        commits.keys().try_for_each(|at| thread.plant_breakpoint(*at))?;
        while let Stop::Breakpoint(at) = thread.go_on()? {
            // To stop there is to be preempted: it starts again, and would come by for ever.
            thread.remove_breakpoint(at)?;
            let second = Commit::at(at, commits[&at], &thread, subject.shared().second_area())?;
            if let Some(place) = first.shares(&second) {
                let both = [&first, &second];
                return Ok(Some(Shared {
                    sections: both.map(Commit::section),
                    indices: both.map(Commit::index),
                    place,
                    at,
                }));
            }
        }
        Ok(None)
    }
}
