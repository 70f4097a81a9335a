//! Where a section can be interrupted: every instruction from the one that arms it to the one behind the one that disarms it.
//!
//! They are found by following the section's own run. What runs before a window is executed step by step; that leaves a mark, so the attempt ends at the
//! window's check, and the window itself is read from its start to its end: it is a straight line. What comes behind it is found by another
//! child, which runs freely until it has committed.

use std::collections::BTreeSet;

use super::subject::Subject;
use super::tracee::{Stop, Trouble};
use super::windows::{Window, Windows};

/// A place where the section can be interrupted.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub address: u64,
    pub phase: Phase,
    /// The window that the section is on its way to, or in, or that it committed in. `None` if it left before it came to one.
    pub window: Option<Window>,
}

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

/// A closure that makes no progress is given up after so many instructions.
const MOST_STEPS: usize = 2_000_000;

/// All points of the section that new children run.
pub(super) fn find(
    windows: &Windows,
    rseq_cs: u64,
    begin: impl Fn() -> Result<Subject, Trouble>,
) -> Result<Vec<Point>, Trouble> {
    let mut search = Search { windows, rseq_cs, points: Vec::new(), seen: BTreeSet::new() };
    let mut last = None;
    loop {
        let mut subject = begin()?;
        match search.follow(&mut subject, last.as_ref())? {
            None => return Ok(search.points),
            next => last = next,
        }
    }
}

struct Search<'w> {
    windows: &'w Windows,
    /// Where the kernel looks for a descriptor.
    rseq_cs: u64,
    points: Vec<Point>,
    /// The addresses of the points.
    seen: BTreeSet<u64>,
}

impl Search<'_> {
    /// Follows a child from its start, or from where it has left the last window that was found. The next window that it comes to.
    fn follow(&mut self, subject: &mut Subject, last: Option<&Window>) -> Result<Option<Window>, Trouble> {
        let mut phase = Phase::Disarmed;
        if let Some(window) = last {
            for at in window.ways_out() {
                subject.tracee.plant_breakpoint(at)?;
            }
            let Stop::Breakpoint(_) = subject.go_on()? else { return Ok(None) };
            subject.tracee.clear()?;
            phase = Phase::Post;
        }
        let attempt = self.points.len();
        for _ in 0..MOST_STEPS {
            let registers = subject.tracee.registers()?;
            let ip = crate::arch::ip(&registers);
            if let Some(window) = self.windows.starting_at(ip) {
                return Ok(self.enter(window, attempt, subject));
            }
            let code = subject.tracee.code(ip);
            let changes = code.is_some_and(|code| code.writes_to(self.rseq_cs, &registers));
            match (phase, changes) {
                (Phase::Disarmed, false) => {}
                (Phase::Disarmed, true) => {
                    self.add(ip, Phase::Arm, None);
                    phase = Phase::Prepare;
                }
                (_, false) => self.add(ip, phase, last.filter(|_| phase == Phase::Post)),
                (_, true) => {
                    self.add(ip, Phase::Post, last);
                    phase = Phase::Disarmed;
                }
            }
            if subject.step()? == Stop::Marker {
                return Ok(None);
            }
            if changes && phase == Phase::Disarmed {
                let next = crate::arch::ip(&subject.tracee.registers()?);
                self.add(next, Phase::Disarmed, last);
            }
        }
        Err(Trouble::Hung("before it left the section"))
    }

    fn add(&mut self, address: u64, phase: Phase, window: Option<&Window>) {
        if self.seen.insert(address) {
            self.points.push(Point { address, phase, window: window.cloned() });
        }
    }

    /// Adds the instructions of a window, which is where the points of this attempt lead to; `None` if it is known.
    fn enter(&mut self, window: &Window, attempt: usize, subject: &Subject) -> Option<Window> {
        if self.seen.contains(&window.start) {
            return None;
        }
        for point in &mut self.points[attempt..] {
            if matches!(point.phase, Phase::Arm | Phase::Prepare) {
                point.window = Some(window.clone());
            }
        }
        let mut ip = window.start;
        while let Some(code) = subject.tracee.code(ip).filter(|_| ip < window.post) {
            self.add(ip, Phase::Window, Some(window));
            ip += code.length() as u64;
        }
        Some(window.clone())
    }
}
