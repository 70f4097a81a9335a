//! Machines without a store of sixteen bytes publish their window by several. Whatever interrupts a
//! thread in between, and whatever sections its handlers run, the kernel never finds a thread
//! descriptor in force that mixes two windows, and nothing commits that was interrupted. Every
//! schedule with a few interruptions is tried, on a model of the protocol; for each of its rules
//! there is a control that leaves it out.
//!
//! (The goldens of `machine_code` hold the order of the instructions; `model` that of the steps
//! around them.)

use std::collections::HashSet;

/// The fields of the thread descriptor: which window's they are. A length of none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Descriptor {
    start: Window,
    length: Option<Window>,
    abort: Window,
}

type Window = u8;

/// A section's steps with its descriptor, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Uncover,
    Arm,
    Prepare,
    Start,
    Abort,
    Length,
    Check,
    Commit,
    Disarm,
}

use Step::*;

/// As rseq-core arms (`arch/by_stores.rs`) and rseq-macros publishes (`emit/arch/load_store.rs`).
const SECTION: [Step; 10] = [Uncover, Arm, Prepare, Uncover, Start, Abort, Length, Check, Commit, Disarm];
/// The end of an aborted section, or of one whose `prepare` was left (rseq-core's `disarm`).
const ABORTED: [Step; 2] = [Uncover, Disarm];

/// A section that has begun, or one of a handler on top of it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Section<'p> {
    window: Window,
    /// Steps that it still does.
    steps: &'p [Step],
    was_interrupted: bool,
}

/// A thread, with the steps of its sections and of their aborts.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Thread<'p> {
    section: &'p [Step],
    aborted: &'p [Step],
    descriptor: Descriptor,
    in_force: bool,
    sections: Vec<Section<'p>>,
}

impl<'p> Thread<'p> {
    fn begins(&mut self, window: Window) {
        self.sections.push(Section { window, steps: self.section, was_interrupted: false });
    }

    /// Runs on in every way with so many interruptions, unless it has been here before. What went
    /// wrong, if something did.
    fn every_way(mut self, interruptions: usize, seen: &mut HashSet<(Self, usize)>) -> Result<(), String> {
        while !self.sections.is_empty() && seen.insert((self.clone(), interruptions)) {
            for handler in [None, Some(0), Some(1)].into_iter().filter(|_| interruptions > 0) {
                let mut interrupted = self.clone();
                interrupted.interrupt()?;
                handler.into_iter().for_each(|window| interrupted.begins(window));
                interrupted.every_way(interruptions - 1, seen)?;
            }
            self.step()?;
        }
        Ok(())
    }

    /// The kernel's part.
    fn interrupt(&mut self) -> Result<(), String> {
        let Descriptor { start, length, abort } = self.descriptor;
        let section = self.sections.last_mut().expect("one is running");
        section.was_interrupted = true;
        if !self.in_force {
            return Ok(());
        }
        if length.is_some_and(|length| (start, abort) != (length, length)) {
            return Err(format!("{:?} is in force before {:?}", self.descriptor, section.steps));
        }
        let in_window = section.steps.starts_with(&[Check]) || section.steps.starts_with(&[Commit]);
        if in_window && length == Some(section.window) {
            section.steps = self.aborted;
        }
        self.in_force = false;
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let section = self.sections.last_mut().expect("one is running");
        let Some((step, rest)) = section.steps.split_first() else {
            self.sections.pop();
            return Ok(());
        };
        section.steps = rest;
        match step {
            Uncover => self.descriptor.length = None,
            Arm => (self.in_force, section.was_interrupted) = (true, false),
            Prepare => {}
            Start => self.descriptor.start = section.window,
            Abort => self.descriptor.abort = section.window,
            Length => self.descriptor.length = Some(section.window),
            Check if !self.in_force => section.steps = self.aborted,
            Check => {}
            Commit if section.was_interrupted => return Err("an interrupted section commits".into()),
            Commit => {}
            Disarm => self.in_force = false,
        }
        Ok(())
    }
}

/// Runs two sections one after the other in every way, by these steps.
fn run(section: &[Step], aborted: &[Step]) -> Result<(), String> {
    const INTERRUPTIONS: usize = 3;
    let descriptor = Descriptor { start: 2, length: None, abort: 2 };
    let mut thread = Thread { section, aborted, descriptor, in_force: false, sections: Vec::new() };
    [1, 0].into_iter().for_each(|window| thread.begins(window));
    thread.every_way(INTERRUPTIONS, &mut HashSet::new())
}

/// The steps without the one at this place.
fn without(place: usize, steps: &[Step]) -> Vec<Step> {
    let mut steps = steps.to_vec();
    steps.remove(place);
    steps
}

/// Without this step of a section, something mixed comes into force, or an interrupted section
/// commits: it says which.
fn wrong_without(place: usize) -> String {
    run(&without(place, &SECTION), &ABORTED).expect_err("a step that nothing needs")
}

#[test]
fn nothing_mixed_comes_into_force() {
    run(&SECTION, &ABORTED).expect("the protocol is right");
}

/// A handler that interrupts a publish arms what it finds.
#[test]
fn without_uncovering_when_arming_it_does() {
    assert!(wrong_without(0).contains("is in force"));
}

/// A handler between uncovering and arming leaves a whole window, of which the publish then changes
/// one field after the other.
#[test]
fn without_uncovering_when_publishing_it_does() {
    assert!(wrong_without(3).contains("is in force"));
}

/// A handler's section that was interrupted in its publish leaves what it mixed to a section that
/// it interrupted between uncovering and arming.
#[test]
fn without_uncovering_when_aborted_it_does() {
    let wrong = run(&SECTION, &[Disarm]).expect_err("a step that nothing needs");
    assert!(wrong.contains("is in force"), "{wrong}");
}

#[test]
fn with_the_length_first_it_does() {
    let mut steps = SECTION;
    steps[4..=6].rotate_right(1);
    let wrong = run(&steps, &ABORTED).expect_err("a length goes with another start");
    assert!(wrong.contains("is in force"), "{wrong}");
}

#[test]
fn without_check_interrupted_sections_commit() {
    assert!(wrong_without(7).contains("commits"));
}

#[test]
fn without_disarming_interrupted_sections_commit() {
    assert!(wrong_without(9).contains("commits"));
}
