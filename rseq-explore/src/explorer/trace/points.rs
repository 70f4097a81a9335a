//! Where a section can be interrupted: every instruction from the one that arms it to the one
//! behind the one that disarms it.
//!
//! They are found by following the section's own run. What runs before a window is executed step by
//! step; that leaves a mark, so the attempt ends at the window's check, and the window itself is
//! read from its start to its end: it is a straight line. What comes behind it is found by another
//! child, which runs freely until it has committed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::report::Phase;
use super::arch;
use super::subject::Subject;
use super::tracee::{Stop, Trouble};
use super::windows::{Window, Windows};

/// A place where the section can be interrupted.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub address: u64,
    pub phase: Phase,
    /// The window that the section is on its way to, or in, or that it committed in. `None` if it
    /// left before it came to one.
    pub window: Option<Window>,
    /// It has committed there.
    pub committed: bool,
    /// The section comes by after it was aborted in this window: a section that repeats by itself
    /// has a second copy for that.
    pub after: Option<Window>,
}

/// A closure that makes no progress is given up after so many instructions.
const MOST_STEPS: usize = 2_000_000;

/// All points of the section that new children run.
pub(super) fn find(
    windows: &Windows,
    rseq_cs: u64,
    begin: impl Fn() -> Result<Subject, Trouble>,
) -> Result<Vec<Point>, Trouble> {
    let mut search = Search { windows, rseq_cs, points: Vec::new(), seen: BTreeSet::new(), attempt: 0, after: None };
    search.all(&begin)?;
    let found: BTreeMap<u64, Window> =
        search.points.iter().filter_map(|point| point.window.clone()).map(|window| (window.start, window)).collect();
    for window in found.into_values() {
        search.after = Some(window);
        search.all(&begin)?;
    }
    Ok(search.points)
}

impl Subject {
    /// Lets the section run until it has been aborted in a window. Whether it came by.
    pub fn get_aborted(&mut self, window: &Window) -> Result<bool, Trouble> {
        for at in [window.start, window.abort_handler] {
            self.plant_breakpoint(at)?;
            // To stop there is to be preempted.
            if self.go_on()? != Stop::Breakpoint(at) {
                return Ok(false);
            }
            self.tracee.clear()?;
        }
        Ok(true)
    }
}

/// A window, and where a thread went on that was in it.
struct Left {
    window: Window,
    at: u64,
}

/// Where following a child leads.
enum Followed {
    /// To the start of a window.
    To(Window),
    /// To where it was before: it found out ahead of its window that something had come in between,
    /// which was a step.
    Around,
    ToTheEnd,
}

struct Search<'w> {
    windows: &'w Windows,
    /// Where the kernel looks for a descriptor.
    rseq_cs: u64,
    points: Vec<Point>,
    /// The addresses of the points.
    seen: BTreeSet<u64>,
    /// The first point of the present attempt.
    attempt: usize,
    /// The window in which sections are aborted first.
    after: Option<Window>,
}

impl Search<'_> {
    /// Follows children until they come by nothing new.
    fn all(&mut self, begin: impl Fn() -> Result<Subject, Trouble>) -> Result<(), Trouble> {
        let mut ways_out = BTreeMap::new();
        let mut left = None;
        loop {
            let Some(mut subject) = self.begin(&begin)? else { return Ok(()) };
            if !ways_out.is_empty() {
                // By a way that no child took before.
                left = leave_a_window(&mut subject, &mut ways_out)?;
                if left.is_none() {
                    return Ok(());
                }
            }
            self.attempt = self.points.len();
            let found = match self.follow(&mut subject, left.as_ref())? {
                Followed::To(window) => self.enter(&window, &subject),
                Followed::Around => match self.begin(&begin)? {
                    Some(other) => self.enter_freely(other)?,
                    None => None,
                },
                Followed::ToTheEnd => None,
            };
            if let Some(window) = found {
                ways_out.extend(window.ways_out().map(|at| (at, window.clone())));
            }
            if ways_out.is_empty() {
                return Ok(());
            }
        }
    }

    /// A child that stands where the search begins; `None` if it doesn't come by there.
    fn begin(&self, begin: impl Fn() -> Result<Subject, Trouble>) -> Result<Option<Subject>, Trouble> {
        let mut subject = begin()?;
        let there = self.after.as_ref().map_or(Ok(true), |window| subject.get_aborted(window))?;
        Ok(there.then_some(subject))
    }

    /// Lets a child run to the first window that it comes to, where a step in front of that would
    /// make it start again.
    fn enter_freely(&mut self, mut subject: Subject) -> Result<Option<Window>, Trouble> {
        for start in self.windows.starts() {
            subject.plant_breakpoint(start)?;
        }
        let Stop::Breakpoint(at) = subject.go_on()? else { return Ok(None) };
        subject.tracee.clear()?;
        Ok(self.windows.starting_at(at).and_then(|window| self.enter(window, &subject)))
    }

    /// Follows a child from its start, or from a way out of a window, to the next window or to its
    /// end.
    fn follow(&mut self, subject: &mut Subject, left: Option<&Left>) -> Result<Followed, Trouble> {
        let mut phase = if left.is_some() { Phase::Post } else { Phase::Disarmed };
        let mut arms_seen = BTreeSet::new();
        for _ in 0..MOST_STEPS {
            let registers = subject.tracee.registers()?;
            let ip = arch::ip(&registers);
            if let Some(window) = self.windows.starting_at(ip) {
                return Ok(Followed::To(window.clone()));
            }
            let writes = subject.tracee.code(ip).is_some_and(|code| code.writes_to(self.rseq_cs, &registers));
            let stop = subject.step()?;
            // Nothing has come in between yet: what is there now is what it wrote.
            let arms = writes && subject.tracee.word(self.rseq_cs)? != 0;
            match phase {
                Phase::Disarmed if arms => {
                    self.attempt = self.points.len();
                    self.add(ip, Phase::Arm, None);
                }
                Phase::Disarmed => {}
                Phase::Prepare if !writes => self.add(ip, Phase::Prepare, None),
                // It has left, also if it disarms in `prepare`.
                _ => self.add(ip, Phase::Post, left),
            }
            if stop == Stop::Marker {
                return Ok(Followed::ToTheEnd);
            }
            if arms && !arms_seen.insert(ip) {
                return Ok(Followed::Around);
            }
            if writes {
                if phase != Phase::Disarmed {
                    self.add(arch::ip(&subject.tracee.registers()?), Phase::Disarmed, left);
                }
                phase = if arms { Phase::Prepare } else { Phase::Disarmed };
            }
        }
        Err(Trouble::Hung("before it left the section"))
    }

    fn add(&mut self, address: u64, phase: Phase, left: Option<&Left>) {
        let window = left.map(|left| left.window.clone());
        let committed = left.is_some_and(|left| left.at == left.window.post);
        if self.seen.insert(address) {
            self.points.push(Point { address, phase, window, committed, after: self.after.clone() });
        }
    }

    /// Adds the instructions of a window, which is where the points of this attempt lead to, unless
    /// it is known.
    fn enter(&mut self, window: &Window, subject: &Subject) -> Option<Window> {
        for point in &mut self.points[self.attempt..] {
            if matches!(point.phase, Phase::Arm | Phase::Prepare) {
                point.window = Some(window.clone());
            }
        }
        if self.seen.contains(&window.start) {
            return None;
        }
        let mut ip = window.start;
        while let Some(code) = subject.tracee.code(ip).filter(|_| ip < window.post) {
            self.add(ip, Phase::Window, Some(&Left { window: window.clone(), at: ip }));
            ip += code.length() as u64;
        }
        Some(window.clone())
    }
}

/// Lets a child run to a way out of a window, if it comes to one.
fn leave_a_window(subject: &mut Subject, ways_out: &mut BTreeMap<u64, Window>) -> Result<Option<Left>, Trouble> {
    for at in ways_out.keys() {
        subject.plant_breakpoint(*at)?;
    }
    let Stop::Breakpoint(at) = subject.go_on()? else { return Ok(None) };
    subject.tracee.clear()?;
    Ok(ways_out.remove(&at).map(|window| Left { window, at }))
}
